"""Where a model comes from: a folder, the Hugging Face hub, a GGUF file; with a LoRA adapter or without."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import transformers

from hgpo.errors import SettingError
from hgpo.policies.compute import Compute
from hgpo.policies.lora import ADAPTER, quiet_peft
from hgpo.policies.settings import ADAPTER_CONFIG, Lora, is_gguf
from hgpo.policies.transformers import TransformersPolicy

TOKENIZER_CONFIG = "tokenizer_config.json"


def load_policy(
    source: Path | str, compute: Compute | None = None, *, trainable: bool = True
) -> TransformersPolicy:
    """The policy of a model.

    Args:
        source: a folder in transformers' format, one with a LoRA adapter, a GGUF file, or a name on the hub.
            The tokenizer is the one in an adapter's folder where there is one, else that of its model.
        compute: where and how; None is a CPU.
        trainable: whether its weights (or the adapter's) are to learn.

    Raises:
        SettingError: if there is no model, or an adapter of a kind that does not change layers.
    """
    compute = compute or Compute()
    folder = Path(source)
    if (folder / ADAPTER_CONFIG).is_file():
        base, tokenizer = _load(base_of(folder), compute.precision)
        if (folder / TOKENIZER_CONFIG).is_file():
            tokenizer = transformers.AutoTokenizer.from_pretrained(str(folder))
        with quiet_peft() as peft:
            kind = peft.PeftConfig.from_pretrained(str(folder))
            if kind.is_prompt_learning:
                raise SettingError(
                    f"{folder} holds an adapter of the kind {kind.peft_type.value}, which adds to the "
                    "prompt: expected one that changes layers, such as LoRA"
                )
            model: Any = peft.PeftModel.from_pretrained(base, str(folder), ADAPTER, is_trainable=trainable)
    else:
        model, tokenizer = _load(source, torch.float32 if trainable else compute.precision)
        model.requires_grad_(trainable)
    return TransformersPolicy(model, tokenizer, compute)


def base_of(folder: Path) -> str:
    """The model that the adapter in a folder belongs to."""
    return json.loads((folder / ADAPTER_CONFIG).read_text())["base_model_name_or_path"]


def load_with_new_adapter(source: str, compute: Compute, lora: Lora, *, seed: int) -> TransformersPolicy:
    """The policy of a model with a fresh adapter, which changes nothing yet: B is 0.

    Args:
        source, compute: as in `load_policy`.
        lora: the adapter.
        seed: of A.

    Raises:
        SettingError: if there is no model, or one with an adapter already, or no layer among the targets.
    """
    if (Path(source) / ADAPTER_CONFIG).is_file():
        raise SettingError(
            f"--model {source} is an adapter, which cannot have another one: train it further with "
            f"--lora.rank 0, or merge it into its model first (hgpo export {source} OUT) and give --model OUT"
        )
    base, tokenizer = _load(source, compute.precision)
    # A run's checkpoints name the model they belong to, from wherever they are read.
    name = str(Path(source).resolve()) if Path(source).exists() else source
    with torch.random.fork_rng(devices=[]), quiet_peft() as peft:
        torch.manual_seed(seed)
        config = peft.LoraConfig(
            task_type="CAUSAL_LM",
            r=lora.rank,
            lora_alpha=lora.alpha,  # pyright: ignore[reportArgumentType]
            target_modules=lora.targets,
        )
        try:
            model = peft.get_peft_model(base, config)
        except ValueError as error:
            raise SettingError(f"--lora.targets {lora.targets}: {error}") from None
    # peft puts the name in that the model was loaded by, which a file of GGUF's has only in part.
    model.peft_config[ADAPTER].base_model_name_or_path = name
    return TransformersPolicy(model, tokenizer, compute)


def _load(source: Path | str, dtype: torch.dtype) -> tuple[Any, Any]:
    path = Path(source)
    options: dict[str, Any] = {}
    if is_gguf(path):
        options, source = {"gguf_file": path.name}, path.parent
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(str(source), **options)
        # Releases that know of GgufConfig keep the file's short numbers unless told; older ones never do.
        if options and (gguf_config := getattr(transformers, "GgufConfig", None)):
            options["quantization_config"] = gguf_config(dequantize=True)
        model = transformers.AutoModelForCausalLM.from_pretrained(str(source), dtype=dtype, **options)
        if options:
            _take_ends_of_gguf(path, tokenizer, model)
    except (OSError, ValueError) as error:
        raise SettingError(f"no model {source}: {str(error).splitlines()[0]}") from None
    return model, tokenizer


def _take_ends_of_gguf(path: Path, tokenizer: Any, model: Any) -> None:
    """Give tokenizer and model the tokens with which a text, a turn or a message ends in the file.

    transformers reads no more than the first, and takes the beginning of a text for it where the model is of
    Llama's kind (release 5.10).
    """
    import gguf

    reader, keys = gguf.GGUFReader(path), gguf.Keys.Tokenizer
    fields = (reader.get_field(key) for key in (keys.EOS_ID, keys.EOT_ID, keys.EOM_ID))
    ends = [int(field.contents()) for field in fields if field is not None]
    if ends:
        tokenizer.eos_token = tokenizer.convert_ids_to_tokens(ends[0])
        model.generation_config.eos_token_id = ends
