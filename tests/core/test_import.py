import json
import subprocess
import sys

import hgpo


def test_importing_hgpo_loads_numpy_and_nothing_heavy():
    code = "import hgpo, json, sys; print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"
    loaded = json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)
    heavy = {
        "torch",
        "transformers",
        "tokenizers",
        "safetensors",
        "rich",
        "tyro",
        "pandas",
        "matplotlib",
        "pyarrow",
    }
    assert "numpy" in loaded
    assert not heavy.intersection(loaded)


def test_every_public_name_is_there():
    for name in hgpo.__all__:
        assert hasattr(hgpo, name)
    assert {name for name in hgpo.__all__ if isinstance(getattr(hgpo, name), type)} - {
        *("Estimator", "StepTable"),
        *("AEM", "EMPG"),
    } == {estimator.__name__ for estimator in hgpo.ESTIMATORS.values()}
