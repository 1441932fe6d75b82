"""Hierarchical Bellman Credit on one page, in plain Python: the definition written down, nothing made fast.

The package computes the same numbers (a test holds the two equal); read this first, then src/hgpo/estimators.
Run it: python examples/hbc_one_file.py
"""

from collections import defaultdict


def hbc_advantages(
    rows, history_length=2, shrinkage=1.0, episode_weight=0.3, discount=0.95, invalid_penalty=0.0
):
    """One advantage per row.

    Args:
        rows: One dict per agent step: task, trajectory, step (0, 1, …), state and action (hashable), valid,
            reward.
        history_length: K, how many states before the current one tell contexts apart at the deepest level.
        shrinkage: κ, in rows: how much a shallower context counts against a deeper one.
        episode_weight: w, the weight of the whole trajectory's return.
        discount: What a reward one step later is worth now.
        invalid_penalty: Subtracted when actions are compared, for an action that was not understood.
    """
    # 1. The steps of each trajectory in time order, as row numbers.
    trajectories = defaultdict(list)
    for row in sorted(range(len(rows)), key=lambda row: rows[row]["step"]):
        trajectories[rows[row]["trajectory"]].append(row)

    # 2. The contexts of each row: its state and the 0 … K states before it, None standing before the start.
    #    All actions that were not understood are one action.
    contexts = [[] for _ in rows]
    following = {}
    for of_trajectory in trajectories.values():
        states = [None] * history_length + [rows[row]["state"] for row in of_trajectory]
        for time, row in enumerate(of_trajectory):
            now = time + history_length
            for level in range(history_length + 1):
                contexts[row].append((rows[row]["task"], level, tuple(states[now - level : now + 1])))
            following[row] = of_trajectory[time + 1] if time + 1 < len(of_trajectory) else None
    actions = [row["action"] if row["valid"] else ("not understood",) for row in rows]

    def means(amounts, keys):
        """The mean amount of all rows with the same key, for each row; and how many these are."""
        found = defaultdict(list)
        for amount, key in zip(amounts, keys, strict=True):
            found[key].append(amount)
        return [sum(found[key]) / len(found[key]) for key in keys], [len(found[key]) for key in keys]

    # 3. Values: the mean of what followed in a context, drawn to the mean of the shallower context.
    def values_of(targets):
        values, _ = means(targets, [of_row[0] for of_row in contexts])
        for level in range(1, history_length + 1):
            mean, n = means(targets, [of_row[level] for of_row in contexts])
            values = [
                v + size / (size + shrinkage) * (m - v) for v, m, size in zip(values, mean, n, strict=True)
            ]
        return values

    returns = [0.0] * len(rows)
    for of_trajectory in trajectories.values():
        for row in reversed(of_trajectory):
            later = 0.0 if following[row] is None else returns[following[row]]
            returns[row] = rows[row]["reward"] + discount * later

    #    What follows a step is its reward and the value of the next: repeated until nothing moves.
    values, targets = values_of(returns), returns
    for _ in range(400):
        targets = [
            row["reward"] + discount * (0.0 if following[number] is None else values[following[number]])
            for number, row in enumerate(rows)
        ]
        values = values_of(targets)

    # 4. Actions of a context against one another; what a deeper context adds counts by how often the action
    #    and the others were tried there.
    targets = [t if row["valid"] else t - invalid_penalty for t, row in zip(targets, rows, strict=True)]
    advantages = [0.0] * len(rows)
    for level in range(history_length + 1):
        here = [of_row[level] for of_row in contexts]
        left = [target - advantage for target, advantage in zip(targets, advantages, strict=True)]
        of_context, n = means(left, here)
        of_action, own = means(left, list(zip(here, actions, strict=True)))
        for row in range(len(rows)):
            size = own[row] * (n[row] - own[row]) / n[row]
            weight = 1.0 if level == 0 else size / (size + shrinkage) if size else 0.0
            advantages[row] += weight * (of_action[row] - of_context[row])

    # 5. A part of GRPO's comparison: the whole trajectory's return against the mean of its task.
    totals = {name: sum(rows[row]["reward"] for row in members) for name, members in trajectories.items()}
    of_task = defaultdict(list)
    for name, members in trajectories.items():
        of_task[rows[members[0]]["task"]].append(totals[name])
    for number, row in enumerate(rows):
        mean = sum(of_task[row["task"]]) / len(of_task[row["task"]])
        advantages[number] += episode_weight * (totals[row["trajectory"]] - mean)
    return advantages


def main():
    """Three rollouts of one task; the first two meet in the kitchen, and only one of them wins."""
    walks = {
        "first": ([("hall", "go east"), ("kitchen", "boil water")], 10.0),
        "second": ([("hall", "go north"), ("kitchen", "look")], 0.0),
        "third": ([("hall", "go west"), ("cellar", "look")], 0.0),
    }
    rows = [
        {
            "task": "make tea",
            "trajectory": name,
            "step": step,
            "state": state,
            "action": action,
            "valid": True,
            "reward": final_reward if step == len(steps) - 1 else 0.0,
        }
        for name, (steps, final_reward) in walks.items()
        for step, (state, action) in enumerate(steps)
    ]
    print("trajectory  step  state    action      advantage")
    for row, advantage in zip(rows, hbc_advantages(rows, episode_weight=0.0), strict=True):
        name, step, state, action = (row[key] for key in ("trajectory", "step", "state", "action"))
        print(f"{name:<10}  {step:>4}  {state:<7}  {action:<10}  {advantage:>9.3f}")
    print(
        "Going north was as good as going east: it led to the kitchen too, though that rollout failed there."
    )


if __name__ == "__main__":
    main()
