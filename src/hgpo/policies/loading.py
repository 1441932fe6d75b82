"""Loads a model from a folder, the Hugging Face hub or a GGUF file, with or without a LoRA adapter."""

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
        source: a folder in transformers' format, a folder with a LoRA adapter, a GGUF file, or a name on the
            hub. An adapter's tokenizer is the one in its folder if there is one, else that of its model.
        compute: the device, precision and batch size; None computes on the CPU.
        trainable: whether its weights, or those of the adapter, can be trained.

    Raises:
        SettingError: if there is no model, or if the adapter is of a kind that does not change layers.
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
                    "prompt: expected an adapter that changes layers, such as LoRA"
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
    """The policy of a model with a new adapter, which does not change the outputs yet because B is 0.

    Args:
        source, compute: as in `load_policy`.
        lora: the adapter.
        seed: seed of the initial values of A.

    Raises:
        SettingError: if there is no model, if it already has an adapter, or if the targets match no layer.
    """
    if (Path(source) / ADAPTER_CONFIG).is_file():
        raise SettingError(
            f"--model {source} is an adapter, which cannot have another adapter: train it further with "
            f"--lora.rank 0, or merge it into its model first (hgpo export {source} OUT) and give --model OUT"
        )
    base, tokenizer = _load(source, compute.precision)
    # A run's checkpoints name the model they belong to, and may be read from any working directory.
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
    # peft records the name that the model was loaded by, which for a GGUF file is only its folder.
    model.peft_config[ADAPTER].base_model_name_or_path = name
    return TransformersPolicy(model, tokenizer, compute)


def _load(source: Path | str, dtype: torch.dtype) -> tuple[Any, Any]:
    path = Path(source)
    options: dict[str, Any] = {}
    if is_gguf(path):
        options, source = {"gguf_file": path.name}, path.parent
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(str(source), **options)
        # Releases with GgufConfig keep the file's weights quantized by default; older ones never do.
        if options and (gguf_config := getattr(transformers, "GgufConfig", None)):
            options["quantization_config"] = gguf_config(dequantize=True)
        model = transformers.AutoModelForCausalLM.from_pretrained(str(source), dtype=dtype, **options)
        if options:
            _take_ends_of_gguf(path, tokenizer, model)
    except (OSError, ValueError) as error:
        raise SettingError(f"no model {source}: {str(error).splitlines()[0]}") from None
    return model, tokenizer


def _take_ends_of_gguf(path: Path, tokenizer: Any, model: Any) -> None:
    """Give the tokenizer and the model the file's tokens for the end of a text, a turn and a message.

    transformers reads only the end of a text, and for Llama models it takes the token that begins a text
    instead (release 5.10).
    """
    import gguf

    reader, keys = gguf.GGUFReader(path), gguf.Keys.Tokenizer
    fields = (reader.get_field(key) for key in (keys.EOS_ID, keys.EOT_ID, keys.EOM_ID))
    ends = [int(field.contents()) for field in fields if field is not None]
    if ends:
        tokenizer.eos_token = tokenizer.convert_ids_to_tokens(ends[0])
        model.generation_config.eos_token_id = ends
