"""The laboratory: estimators measured where the true advantages are known.

`processes` are finite, so the value of every step under the acting policy, and its gradient, can be computed
exactly; `kinds` lists the kinds of processes. `estimators` lists what is compared; `errors` splits the error
of an estimate into bias and variance, and `measure` applies both to a sample. `sweeps` varies one
parameter at a time, `theory` tests the assumptions behind HGPO's weights. `gradient` compares policy
gradients with the true one, `learning` trains policies with them; `game_gradient` and `game_learning` do the
same on text games, with the log-linear agent of `games`. `oracle` estimates the value of every step of real
games by many rollouts from that step. `report` writes tables and plots, `jobs` distributes work over
processes.
"""
