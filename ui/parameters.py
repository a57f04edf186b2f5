"""The parameter panel, drawn from a model's `Capabilities`: ranges, recommended values, marks for what is not taken."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from typing import Any

import gradio as gr

from backend import BadInput, Capabilities, Choices, GenerationParameters, ParameterSpec, ToolKit, kit_from
from ui.text import WORDS as W
from ui.tools.json_answer import format_from

SLIDERS = (
    "thinking_budget", "max_tokens", "temperature", "top_p", "top_k", "min_p", "presence_penalty", "repetition_penalty", "draft_tokens",
)  # fmt: skip
STEPS = {
    "thinking_budget": 256,
    "max_tokens": 16,
    "temperature": 0.05,
}  # a slider's step; the number box takes any value in range
LOWEST = {"thinking_budget": 0, "draft_tokens": -1}  # below the range: the parameter is not set
NEUTRAL = {"presence_penalty": 0.0, "repetition_penalty": 1.0, "min_p": 0.0}
BUILT_IN_PRESETS: dict[str, dict[str, float]] = {
    W.preset_recommended: {},
    W.preset_precise: {"temperature": 0.2},
    W.preset_creative: {"temperature": 1.0},
    W.preset_greedy: {"temperature": 0.0},
}


class OpenSlider(gr.Slider):
    """A slider that hands over what was typed as it is: the request's own check then says what is wrong, and the text stays."""

    def preprocess(self, payload: Any) -> Any:
        return payload

    def get_block_name(self) -> str:
        return "slider"


@dataclass
class Panel:
    """The panel's components, in the order in which handlers get their values."""

    preset: gr.Dropdown
    checkpoint: gr.Radio
    thinking_budget: gr.Slider
    max_tokens: gr.Slider
    temperature: gr.Slider
    top_p: gr.Slider
    top_k: gr.Slider
    min_p: gr.Slider
    presence_penalty: gr.Slider
    repetition_penalty: gr.Slider
    draft_tokens: gr.Slider
    enable_thinking: gr.Checkbox
    seed: gr.Number
    stop: gr.Textbox
    extra: gr.Textbox
    replay_speed: gr.Radio
    system: gr.Textbox
    resend: gr.Checkbox
    json_on: gr.Checkbox
    json_schema: gr.Textbox
    tools: gr.HTML

    def components(self) -> list[gr.components.Component]:
        return [getattr(self, f.name) for f in fields(self)]


def build(capabilities: Capabilities, tools: gr.HTML, *, prefix: str = "") -> Panel:
    """Draws the panel for the model that is selected at the start; `tools` is drawn elsewhere. A page with two panels gives the ids of
    one a `prefix`."""
    settings = _settings(capabilities, {})
    with gr.Row(elem_id=f"{prefix}preset-row"):
        preset = gr.Dropdown(
            list(BUILT_IN_PRESETS), value=W.preset_recommended, label=W.preset, elem_id=f"{prefix}preset", allow_custom_value=True
        )
    checkpoints = [(W.checkpoint_instruct, "instruct"), (W.checkpoint_thinking, "thinking")]
    checkpoint = gr.Radio(checkpoints, **settings["checkpoint"], elem_id=f"{prefix}checkpoint")
    sliders = {
        name: OpenSlider(**settings[name], elem_id=f"{prefix}p-{name.replace('_', '-')}", key=f"{prefix}p-{name}") for name in SLIDERS
    }
    return Panel(
        preset=preset,
        checkpoint=checkpoint,
        **sliders,
        enable_thinking=gr.Checkbox(**settings["enable_thinking"], elem_id=f"{prefix}p-enable-thinking"),
        seed=gr.Number(**settings["seed"], elem_id=f"{prefix}p-seed"),
        stop=gr.Textbox(**settings["stop"], lines=1, max_lines=4, elem_id=f"{prefix}p-stop"),
        extra=gr.Textbox(**settings["extra"], lines=1, max_lines=8, elem_id=f"{prefix}p-extra"),
        replay_speed=gr.Radio(
            [(W.replay_1x, 1), (W.replay_4x, 4), (W.replay_now, 0)], **settings["replay_speed"], elem_id=f"{prefix}p-replay-speed"
        ),
        system=gr.Textbox(label=W.system_prompt, placeholder=W.system_hint, lines=2, max_lines=10, elem_id=f"{prefix}p-system"),
        resend=gr.Checkbox(label=W.resend, info=W.resend_off, value=False, elem_id=f"{prefix}p-resend"),
        json_on=gr.Checkbox(label=W.json_title, info=W.json_on, value=False, elem_id=f"{prefix}p-json"),
        json_schema=gr.Textbox(
            label=W.json_schema, info=W.json_hint, lines=3, max_lines=16, elem_id=f"{prefix}p-json-schema", elem_classes=["mono"]
        ),
        tools=tools,
    )


def for_model(panel: Panel, capabilities: Capabilities, values: dict[str, Any]) -> dict[gr.components.Component, Any]:
    """Updates that fit the panel to a model; `values` are set values to show instead of the recommended ones."""
    settings = _settings(capabilities, values)
    updates: dict[gr.components.Component, Any] = {}
    for name in (*SLIDERS, "checkpoint", "enable_thinking", "seed", "stop", "extra", "replay_speed"):
        updates[getattr(panel, name)] = gr.update(**settings[name])
    if "system" in values:
        updates[panel.system] = values["system"]
    if "resend_thinking" in values:
        updates[panel.resend] = values["resend_thinking"]
        # settings that were kept hold all of these, or none was switched on
        updates[panel.tools] = kit_from(values.get("tools")).stored()
        wanted = values.get("format")
        updates[panel.json_on] = isinstance(wanted, dict)
        schema = wanted.get("schema") if isinstance(wanted, dict) else None
        updates[panel.json_schema] = json.dumps(schema, ensure_ascii=False, indent=2) if schema else ""
    return updates


def _settings(capabilities: Capabilities, values: dict[str, Any]) -> dict[str, dict[str, Any]]:
    replay = capabilities.engine == "replay"
    settings = {name: _slider(name, capabilities, values.get(name)) for name in SLIDERS}
    settings["checkpoint"] = {
        "label": W.checkpoint, "info": W.checkpoint_hint, "value": checkpoint_of(capabilities), "visible": capabilities.sibling is not None,
    }  # fmt: skip
    settings["enable_thinking"] = {
        "label": W.parameters["enable_thinking"],
        "value": bool(values.get("enable_thinking", capabilities.thinks_by_default)),
        "visible": capabilities.thinking == "switch",
    }
    takes_seed = "seed" in capabilities.parameters
    seed_hint = W.parameter_hints["seed"] if takes_seed else W.not_taken.format(engine=capabilities.engine_title)
    settings["seed"] = {
        "label": W.parameters["seed"], "info": seed_hint, "value": values.get("seed", -1) if takes_seed else -1,
        "interactive": takes_seed, "visible": not replay,
    }  # fmt: skip
    stop_hint = W.parameter_hints["stop"].format(n=capabilities.max_stop) if capabilities.max_stop else _missing(capabilities)
    settings["stop"] = {
        "label": W.parameters["stop"], "info": stop_hint, "value": "\n".join(values.get("stop", ())), "visible": not replay,
    }  # fmt: skip
    extra = values.get("extra")
    settings["extra"] = {
        "label": W.parameters["extra"], "info": W.parameter_hints["extra"], "visible": capabilities.takes_extra,
        "value": json.dumps(extra, ensure_ascii=False) if extra else "",
    }  # fmt: skip
    settings["replay_speed"] = {"label": W.replay_speed, "visible": replay, "value": 1}
    return settings


def checkpoint_of(capabilities: Capabilities) -> str:
    """Which of the two siblings a model is: thinking cannot be switched, so the panel switches the model."""
    return "thinking" if capabilities.thinking == "always" else "instruct"


def _missing(capabilities: Capabilities) -> str:
    return W.not_taken.format(engine=capabilities.engine_title)


def _slider(name: str, capabilities: Capabilities, value: Any) -> dict[str, Any]:
    spec = capabilities.parameters.get(name)
    label, hint = W.parameters[name], W.parameter_hints.get(name)
    if name == "temperature" and capabilities.thinking in ("always", "switch"):
        hint = W.greedy_warning
    if spec is None:
        why = W.not_for_model if name == "thinking_budget" and capabilities.thinking == "never" else _missing(capabilities)
        return {
            "label": label, "info": why, "minimum": 0, "maximum": 1, "step": 1, "value": 0, "interactive": False,
            "elem_classes": ["off"], "visible": capabilities.engine != "replay" and name != "draft_tokens",
        }  # fmt: skip
    low = LOWEST.get(name, spec.min)
    shown = spec.default if value is None else value
    return {
        "label": label, "info": hint, "minimum": low, "maximum": spec.max, "step": _step(name, spec), "interactive": True,
        "value": NEUTRAL.get(name, low) if shown is None else shown, "elem_classes": [], "visible": True,
    }  # fmt: skip


def _step(name: str, spec: ParameterSpec) -> float:
    return min(STEPS.get(name, spec.step), spec.max)


def choices_from(model: str, capabilities: Capabilities, values: list[Any]) -> Choices:
    """What the panel says, as the backend takes it. Raises `BadInput` where something typed cannot be understood."""
    by_name = dict(zip((f.name for f in fields(Panel)), values, strict=True))
    numbers: dict[str, Any] = {}
    for name in SLIDERS:
        spec = capabilities.parameters.get(name)
        if spec is None:
            continue
        value = _number(by_name[name], W.parameters[name])
        if name in LOWEST and value == LOWEST[name]:
            continue
        numbers[name] = value if value is None or spec.integer else float(value)
    seed = _number(by_name["seed"], W.parameters["seed"])
    if seed is not None and seed >= 0 and "seed" in capabilities.parameters:
        numbers["seed"] = int(seed) if seed == int(seed) else seed
    elif seed is not None and seed < -1:
        raise BadInput(f"Seed is {seed:g}; it takes 0 to 2147483647, or -1 for a new one each time.", hint="Set it to -1.")
    extra = _extra(by_name["extra"]) if capabilities.takes_extra else {}
    replayed = capabilities.engine == "replay"
    if replayed:
        extra = {"replay_speed": by_name["replay_speed"]}
    parameters = GenerationParameters(
        **numbers,
        enable_thinking=bool(by_name["enable_thinking"]) if capabilities.thinking == "switch" else None,
        stop=tuple(s for s in _text(by_name["stop"], W.parameters["stop"]).split("\n") if s) if capabilities.max_stop else (),
        extra=extra,
    )
    return Choices(
        model=model,
        parameters=parameters,
        system=_text(by_name["system"], W.system_prompt),
        resend_thinking=bool(by_name["resend"]),
        # a model that cannot do these refuses, with a sentence: without them the answer would be another
        tools=ToolKit() if replayed else kit_from(by_name["tools"]),
        format=None if replayed else format_from(bool(by_name["json_on"]), _text(by_name["json_schema"], W.json_schema)),
    )


def _text(value: Any, label: str) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    raise BadInput(f"{label} must be text, not {value!r}.", hint="Type it into its box.")


def _number(value: Any, label: str) -> float | int | None:
    if value is None or value == "":
        return None
    if isinstance(value, bool):
        raise BadInput(f"{label} must be a number, not {value}.", hint="Use the slider or type a number.")
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise BadInput(f"{label} must be a number, not {value!r}.", hint="Use the slider or type a number.") from None
    if number != number or number in (float("inf"), float("-inf")):
        raise BadInput(f"{label} must be a finite number.", hint="Use the slider or type a number.")
    return int(number) if number == int(number) else number


def _extra(given: Any) -> dict[str, Any]:
    text = _text(given, W.parameters["extra"])
    if not text.strip():
        return {}
    try:
        value = json.loads(text)
    except ValueError as error:
        raise BadInput(f"Extra JSON cannot be read: {error}.", hint='Write an object, for example {"top_k": 5}.') from None
    if not isinstance(value, dict):
        raise BadInput("Extra JSON must be an object.", hint='Write an object, for example {"top_k": 5}.')
    return value
