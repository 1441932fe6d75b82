"""HGPO in verl: a plugin of stock verl, without a fork.

`plugin` is what verl imports in every process. The data goes through `tasks`, which names the games that are
played, `environments`, which plays them in a few processes, `agent_loop`, where verl's model acts in them and
every step becomes a row, `rows`, which makes a StepTable of these, `advantages`, and `trainers`, which fits
that into verl's own. `settings` and `configuration` check what is asked for, `presets` holds what is
published. `launch` and `check` are `hgpo verl train` and `hgpo verl check`; `cpu` is for dry runs.
"""
