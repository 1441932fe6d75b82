"""HGPO in verl: a plugin of stock verl, without a fork.

verl imports `plugin` in every process. The modules in the order of the data: `tasks` names the tasks to
play; `environments` plays them in a few processes; in `agent_loop` verl's model acts, and every step becomes
a row; `rows` converts the rows to a StepTable; `advantages` computes their advantages; `trainers` connects
all of this to verl's trainers. `settings` and `configuration` check the configuration, and `presets` contains
the published configurations. `launch` and `check` are `hgpo verl train` and `hgpo verl check`; `cpu` is for
dry runs.
"""
