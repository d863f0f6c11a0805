"""The options of a training as given, together, and their flat names: those of the command and of ``config.toml``."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self

from seqembed.data.files.secrets import without_secrets
from seqembed.trainer.config.data import DataConfig
from seqembed.trainer.config.model import ModelConfig
from seqembed.trainer.config.training import TrainingConfig


def as_toml(data: DataConfig, *sections: Mapping[str, Any]) -> dict[str, Any]:
    """Return option names with their values, as ``config.toml`` holds them; TOML has no null, so None is left out.

    ``inputs`` stays as given, without credentials, so a run can be repeated from the directory it was started in.
    """
    options: dict[str, Any] = {**asdict(data), "inputs": tuple(map(without_secrets, data.inputs))}
    for section in sections:
        options |= section
    plain = {name: list(value) if isinstance(value, tuple) else value for name, value in options.items()}
    return {name: value for name, value in plain.items() if value is not None}


@dataclass(frozen=True, slots=True)
class TrainJob:
    """What was asked for; `seqembed.trainer.config.resolved.ResolvedJob` is what is done.

    Attributes:
        data: Which sequences to learn from.
        model: The architecture and its training objective.
        training: How the network is optimised.
    """

    data: DataConfig
    model: ModelConfig = field(default_factory=ModelConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)

    def to_options(self) -> dict[str, Any]:
        """Return option names with their values, without unset options; see `as_toml`."""
        return as_toml(self.data, asdict(self.model), asdict(self.training))

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Self:
        """Build from option names; missing ones take their default.

        Raises:
            UsageError: A value is outside its range, or options contradict each other.
        """
        values = {name: tuple(value) if isinstance(value, list) else value for name, value in options.items()}
        sections = (DataConfig, ModelConfig, TrainingConfig)
        given: list[dict[str, Any]] = [
            {f.name: values[f.name] for f in fields(section) if f.name in values} for section in sections
        ]
        return cls(DataConfig(**given[0]), ModelConfig(**given[1]), TrainingConfig(**given[2]))
