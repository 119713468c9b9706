"""Which configuration comes next: Optuna's TPE, drawn so that neither order nor company changes a trial's share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler, TPESampler
    from optuna.study import Study
    from optuna.trial import FrozenTrial


def make_sampler(seed: int, startup: int) -> BaseSampler:
    """The tree-structured Parzen estimator (Bergstra et al. 2011) after `startup` random configurations.

    A trial's random numbers come from the seed and its own number: processes that work on one study never draw the
    same ones, and a study that goes on draws what it would have drawn.
    """
    from optuna.samplers import BaseSampler, TPESampler

    class SeededByTrial(BaseSampler):
        _number: int | None = None
        _tpe: TPESampler

        def _of(self, trial: FrozenTrial) -> TPESampler:
            if self._number != trial.number:
                self._number = trial.number
                self._tpe = TPESampler(n_startup_trials=startup, seed=(seed * 1_000_003 + trial.number) % 2**32)
            return self._tpe

        def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
            return self._of(trial).infer_relative_search_space(study, trial)

        def sample_relative(
            self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
        ) -> dict[str, Any]:
            return self._of(trial).sample_relative(study, trial, search_space)

        def sample_independent(
            self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
        ) -> Any:
            return self._of(trial).sample_independent(study, trial, param_name, param_distribution)

    return SeededByTrial()
