"""Episodes of agents in environments: prompts, actions, rollouts of many episodes at a time, evaluation."""
