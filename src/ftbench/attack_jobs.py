"""The jobs that attack artifacts, and those that ask artifacts about texts which fooled others."""

from __future__ import annotations

from ftbench import matrix
from ftbench.data.lexicon import lexicon_path
from ftbench.data_jobs import PlannedJob
from ftbench.perturb_jobs import PerturbJobs
from ftbench.plugins import plugin
from ftbench.stages import attack as attack_stage
from ftbench.stages import transfer as transfer_stage


class AttackJobs(PerturbJobs):
    """Builds the jobs of the stages `attack` and `transfer`."""

    def attack(self, attack: str, artifact: str, attack_seed: str, shard: str) -> PlannedJob:
        cell, entry = self.artifacts[artifact], self.study.attacks[attack]
        use, config = self.resolver.attack(attack)
        read, readers = self._reading(cell)
        factory = plugin("attacks", use).factory
        settings = factory.Config.model_validate(config)
        spec = attack_stage.Spec(
            artifact=artifact,
            labels=self.resolver.space(cell.task)[1],
            max_length=self._max_length(cell),
            attack=attack,
            use=use,
            config=config,
            seed=int(attack_seed),
            sets=matrix.attacked_sets(self.study, attack, cell.task),
            rows=entry.rows,
            shard=int(shard),
            shards=entry.shards,
        )
        inputs = {"evaluation": self._path("evaluation", task=cell.task), **read}
        inputs |= {f"snapshot_{name}": self._path("base", model=name) for name in factory.models(settings)}
        for key, name in factory.local_files(settings).items():
            if name is not None:
                inputs[f"file_{key}"] = str(lexicon_path(name, f"attacks.{attack}.settings.{key}"))
        place = f"{attack}/{artifact}/a{attack_seed}/{shard}"
        return PlannedJob("attack", place, spec, (plugin("attacks", use).module, *readers), inputs)

    def transfer(self, artifact: str) -> PlannedJob:
        cell = self.artifacts[artifact]
        read, readers = self._reading(cell)
        inputs = {"evaluation": self._path("evaluation", task=cell.task), **read}
        sources = []
        for one in matrix.transferring(self.study, cell.task):
            source = one.target.artifact
            if source == artifact:
                continue
            shards = self.study.attacks[one.attack].shards
            text = str(self.resolver.attack(one.attack)[1]["text"])
            sources.append(transfer_stage.Source(attack=one.attack, artifact=source, text=text, shards=shards))
            for shard in range(shards):
                inputs[f"attacks{len(sources) - 1}_{shard}"] = self._path(
                    "attacks", attack=one.attack, artifact=source, attack_seed=one.seed, shard=shard
                )
        spec = transfer_stage.Spec(
            artifact=artifact,
            labels=self.resolver.space(cell.task)[1],
            max_length=self._max_length(cell),
            precision=self._precision(cell),
            sources=sources,
        )
        return PlannedJob("transfer", artifact, spec, readers, inputs)
