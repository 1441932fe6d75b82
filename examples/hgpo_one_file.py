"""HGPO on one page, in plain Python: the definition written down, nothing made fast.

The package computes the same numbers (a test holds the two equal); read this first, then src/hgpo/estimators.
Run it: python examples/hgpo_one_file.py
"""

from collections import defaultdict


def hgpo_advantages(rows, history_length=2, alpha=1.0, discount=0.95, normalization="mean_std", epsilon=1e-6):
    """One advantage per row.

    Args:
        rows: One dict per agent step: task, trajectory, step (0, 1, …), state (hashable), reward.
        history_length: K, how many states before the current one are compared at most.
        alpha: How strongly the deeper levels outweigh the shallow ones.
        discount: What a reward one step later is worth now.
        normalization: "mean_std" divides by the group's standard deviation, "mean" does not.
        epsilon: Added to that standard deviation.
    """
    # 1. The steps of each trajectory in time order, as row numbers.
    trajectories = defaultdict(list)
    for row in sorted(range(len(rows)), key=lambda row: rows[row]["step"]):
        trajectories[rows[row]["trajectory"]].append(row)

    # 2. What each step was worth in hindsight: R_t = r_t + discount · R_{t+1}; and how much was added up
    #    for that, signs aside: a sum may be near 0, and what was rounded in it is not.
    returns, sizes = [0.0] * len(rows), [0.0] * len(rows)
    for of_trajectory in trajectories.values():
        return_to_go = size = 0.0
        for row in reversed(of_trajectory):
            return_to_go = rows[row]["reward"] + discount * return_to_go
            size = abs(rows[row]["reward"]) + discount * size
            returns[row], sizes[row] = return_to_go, size

    # 3. Who is compared with whom: level k holds the rows of one task that share the current state and the k
    #    states before it. The first k steps of a trajectory have no level k.
    groups = defaultdict(list)
    for of_trajectory in trajectories.values():
        states = [rows[row]["state"] for row in of_trajectory]
        for time, row in enumerate(of_trajectory):
            for level in range(min(history_length, time) + 1):
                last_states = tuple(states[time - level : time + 1])
                groups[level, rows[row]["task"], last_states].append(row)

    # 4. Each group compares its rows: a return minus the group's mean, over the standard deviation.
    #    A group whose returns are all equal (a row alone among them) has nothing to say.
    weighted_sum, weights = [0.0] * len(rows), [0.0] * len(rows)
    for (level, _, _), members in groups.items():
        of_group = [returns[row] for row in members]
        spread = max(of_group) - min(of_group)
        if spread <= 1e-12 * max(sizes[row] for row in members):  # equal but for rounding
            continue
        mean = sum(of_group) / len(members)
        std = (sum((value - mean) ** 2 for value in of_group) / len(members)) ** 0.5
        scale = std + epsilon if normalization == "mean_std" else 1.0
        weight = (level + 1) ** alpha
        for row in members:
            weighted_sum[row] += weight * (returns[row] - mean) / scale
            weights[row] += weight

    # 5. The weighted mean over the levels that had something to say, 0 where none had.
    return [total / weight if weight else 0.0 for total, weight in zip(weighted_sum, weights, strict=True)]


def main():
    """Three rollouts of one task: two come to the kitchen from the hall, one from the garden."""
    walks = {
        "first": (["hall", "kitchen"], 10.0),
        "second": (["hall", "kitchen"], 0.0),
        "third": (["garden", "kitchen"], 0.0),
    }
    rows = [
        {
            "task": "make tea",
            "trajectory": name,
            "step": step,
            "state": state,
            "reward": final_reward if step == len(states) - 1 else 0.0,
        }
        for name, (states, final_reward) in walks.items()
        for step, state in enumerate(states)
    ]
    print("trajectory  step  state     advantage")
    for row, advantage in zip(rows, hgpo_advantages(rows, normalization="mean"), strict=True):
        print(f"{row['trajectory']:<10}  {row['step']:>4}  {row['state']:<8}  {advantage:>9.3f}")
    print("In the kitchen, third is compared at level 0 alone: nobody else came from the garden.")


if __name__ == "__main__":
    main()
