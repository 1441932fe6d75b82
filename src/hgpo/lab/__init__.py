"""The laboratory: estimators where the truth is known.

`processes` are finite, so that the value of every step under the policy that acts can be computed; `errors`
splits what an estimator is off by into bias and variance; `contestants` are what is looked at, `measure` does
it; `sweeps` vary one thing at a time, `theory` looks at the assumptions behind HGPO's weights and at the best
ones, `report` writes and draws. `oracle` asks the same of real games, where a step's value is estimated by
many rollouts from that very step.
"""
