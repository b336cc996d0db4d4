"""A real SLURM on this one machine and on its loopback address alone: controller, two nodes, accounting.

Works as root on Debian and Ubuntu, and installs SLURM from their packages if it is not there; elsewhere it says why
not. GPUs are counted and accounted for without being there. Every daemon can be killed and started again.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

PACKAGES = ("slurmctld", "slurmd", "slurm-client", "slurmdbd", "munge", "mariadb-server")
TOOLS = ("munged", "mariadbd", "slurmdbd", "slurmctld", "slurmd", "sbatch", "srun", "sacct", "unshare", "mount")
NODES, CPUS, MEMORY, GPUS = 2, 4, 12000, 2  # of each node, whatever the machine has; memory in MB
SHARDS = 8  # parts that a GPU can be shared in
PATIENCE = 120.0  # seconds; a slow machine must not fail a test
# no service of the packages is to start by itself while they are installed
POLICY = Path("/usr/sbin/policy-rc.d")

SLURM_CONF = """\
ClusterName=loopback
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={port}
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
AuthInfo=socket={folder}/munge.socket,cred_expire=10
SlurmUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/slurmctld.process
SlurmdPidFile={folder}/%n.process
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
MailProg=/bin/true
ReturnToService=2
PropagateResourceLimits=NONE
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=UsePss,OverMemoryKill
KillWait=10
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0,sched_interval=1,bf_interval=1
MinJobAge=300
SlurmdTimeout=10
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={accounting}
AccountingStoragePass={folder}/munge.socket
AccountingStorageTRES=gres/gpu,gres/shard
AccountingStoreFlags=job_comment
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
GresTypes=gpu,shard
SlurmdParameters=config_overrides
EnforcePartLimits=ALL
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
{nodes}
PartitionName=DEFAULT Nodes=node[0-{last}] DefaultTime=10 MaxTime=1-0 DefMemPerCPU=500
PartitionName=main Default=YES PriorityTier=10
PartitionName=urgent PriorityTier=20 PreemptMode=OFF
PartitionName=preempt PriorityTier=1 PreemptMode=REQUEUE
"""
SLURMDBD_CONF = """\
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={accounting}
CommunicationParameters=NoInAddrAny
AuthInfo=socket={folder}/munge.socket
SlurmUser=root
PidFile={folder}/slurmdbd.process
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=root
StorageLoc=slurm
"""


def reason_against() -> str | None:
    """Why no SLURM can be started here; None where it can. Installs the packages if they are missing."""
    os.environ["PATH"] = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    if os.geteuid() != 0:
        return "a loopback SLURM needs root"
    if missing := [tool for tool in TOOLS if not shutil.which(tool)]:
        if not shutil.which("apt-get"):
            return f"{', '.join(missing)} not found, and no apt-get to install them with"
        if problem := _install():
            return problem
    probe = subprocess.run(["unshare", "--uts", "--mount", "true"], capture_output=True, text=True, check=False)
    return f"no namespaces here: {probe.stderr.strip()}" if probe.returncode else None


def _install() -> str | None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    policy = not POLICY.exists()
    if policy:
        POLICY.write_text("#!/bin/sh\nexit 101\n")
        POLICY.chmod(0o755)
    try:
        for words in (["update", "-q"], ["install", "-qy", "--no-install-recommends", *PACKAGES]):
            done = subprocess.run(
                ["apt-get", *words], env=environment, capture_output=True, text=True, timeout=600, check=False
            )
        return f"apt-get could not install SLURM: {done.stderr.strip()[-300:]}" if done.returncode else None
    except subprocess.TimeoutExpired:
        return "apt-get did not install SLURM within 10 minutes"
    finally:
        if policy:
            POLICY.unlink(missing_ok=True)


def until(what: str, condition: Callable[[], object], seconds: float = PATIENCE) -> object:
    """The first value of `condition` that counts as true."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, f"waited {seconds:.0f} s for: {what}"
        time.sleep(0.1)
    return value


class Loopback:
    """The cluster; a context manager that starts it and leaves nothing running."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="ftbench-slurm-", dir="/tmp"))  # socket paths must be short
        self.etc = self.folder / "etc"
        self.daemons: dict[str, subprocess.Popen[bytes]] = {}
        self.port = _free_ports(12 + NODES)
        self.small_disk = self.folder / "small"  # a file system of a few megabytes; a plain folder where none can be

    @property
    def environment(self) -> dict[str, str]:
        return {"SLURM_CONF": str(self.etc / "slurm.conf"), "PATH": os.environ["PATH"]}

    def __enter__(self) -> Loopback:
        self._configure()
        munge = f"--socket={self.folder}/munge.socket --key-file={self.etc}/munge.key --seed-file={self.folder}/seed"
        self.commands = {
            "munged": ["munged", "--foreground", "--force", *munge.split(), f"--pid-file={self.folder}/munged.process",
                       f"--log-file={self.folder}/munged.own.log"],
            "mariadbd": ["mariadbd", "--no-defaults", "--user=root", f"--datadir={self.folder}/db", "--skip-networking",
                         f"--socket={self.folder}/mariadb.socket", f"--pid-file={self.folder}/mariadbd.process",
                         "--innodb-flush-log-at-trx-commit=2", "--innodb-buffer-pool-size=16M"],
            "slurmdbd": ["slurmdbd", "-D"],
            "slurmctld": ["slurmctld", "-D"],
            **{f"node{number}": ["slurmd", "-D", "-N", f"node{number}"] for number in range(NODES)},
        }  # fmt: skip
        try:
            for name in self.commands:
                self.start(name)
            until(
                "both nodes", lambda: self.tell("sinfo", "-hN", "-p", "main", "-o", "%t").split().count("idle") == NODES
            )
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(Exception):
            self.cancel_all()
        for name in reversed(list(self.daemons)):
            self.stop(name, signal.SIGTERM)
        self.run("umount", "-l", str(self.small_disk))
        shutil.rmtree(self.folder, ignore_errors=True)

    def _configure(self) -> None:
        for name in ("etc", "state", "spool", "gpu", "small"):
            (self.folder / name).mkdir()
        # before the daemons, which have views of their own of what is mounted
        self.run("mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(self.small_disk))
        for number in range(GPUS):
            (self.folder / "gpu" / str(number)).symlink_to("/dev/null")
        nodes = "\n".join(
            f"NodeName=node{number} NodeHostname=localhost NodeAddr=127.0.0.1 Port={self.port + 2 + number} "
            f"CPUs={CPUS} RealMemory={MEMORY} Gres=gpu:{GPUS},shard:{SHARDS * GPUS} State=UNKNOWN"
            for number in range(NODES)
        )
        values = {"folder": self.folder, "port": self.port, "accounting": self.port + 1, "last": NODES - 1}
        (self.etc / "slurm.conf").write_text(SLURM_CONF.format(nodes=nodes, **values))
        (self.etc / "slurmdbd.conf").write_text(SLURMDBD_CONF.format(**values))
        (self.etc / "slurmdbd.conf").chmod(0o600)
        devices = f"File={self.folder}/gpu/[0-{GPUS - 1}]"
        shared = f"NodeName=node[0-{NODES - 1}] Name=shard Count={SHARDS * GPUS}\n"
        (self.etc / "gres.conf").write_text(f"NodeName=node[0-{NODES - 1}] Name=gpu {devices}\n{shared}")
        (self.etc / "munge.key").write_bytes(secrets.token_bytes(128))
        (self.etc / "munge.key").chmod(0o600)
        subprocess.run(
            ["mariadb-install-db", "--no-defaults", "--user=root", f"--datadir={self.folder}/db", "--skip-test-db",
             "--auth-root-authentication-method=socket", "--auth-root-socket-user=root"],
            check=True, capture_output=True,
        )  # fmt: skip

    def start(self, name: str) -> None:
        """Start a daemon and wait until it answers.

        In its own view of the machine the host is named localhost, because SLURM binds to what the host's name
        means, and /etc/slurm is the cluster's, because Snakemake's job steps call srun without SLURM_CONF.
        """
        inside = f'hostname localhost; mkdir -p /etc/slurm; mount --bind {self.etc} /etc/slurm; exec "$@"'
        with (self.folder / f"{name}.log").open("ab") as log:
            self.daemons[name] = subprocess.Popen(
                ["unshare", "--uts", "--mount", "bash", "-c", inside, name, *self.commands[name]],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                env={**os.environ, **self.environment, "MYSQL_UNIX_PORT": f"{self.folder}/mariadb.socket"},
            )  # fmt: skip
        answers = {
            "munged": (self.folder / "munge.socket").exists,
            "mariadbd": (self.folder / "mariadb.socket").exists,
            "slurmdbd": lambda: self.succeeds("sacctmgr", "-n", "list", "cluster"),
            "slurmctld": lambda: self.succeeds("scontrol", "ping") and self.tell("sacctmgr", "-nP", "list", "cluster"),
        }
        until(f"{name} (log in {self.folder}/{name}.log)", answers.get(name, lambda: True))

    def stop(self, name: str, number: int = signal.SIGKILL) -> None:
        """End a daemon, by default as a crash does."""
        process = self.daemons.pop(name)
        process.send_signal(number)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, **self.environment}
        return subprocess.run(words, env=environment, capture_output=True, text=True, timeout=60, check=False)

    def succeeds(self, *words: str) -> bool:
        return self.run(*words).returncode == 0

    def tell(self, *words: str) -> str:
        """What a command of SLURM prints."""
        return self.run(*words).stdout

    def nodes(self) -> list[str]:
        """The states of the nodes in the partition that is used by default."""
        return self.tell("sinfo", "-hN", "-p", "main", "-o", "%t").split()

    def cancel_all(self) -> None:
        for job in self.queue():
            self.run("scancel", job)
        until("the end of all jobs", lambda: not self.queue(), 30)

    def queue(self, *states: str) -> list[str]:
        """Ids of the jobs in the queue, in the given states or in any."""
        chosen = [f"--states={','.join(states)}"] if states else ["--states=all"]
        rows = [line.split() for line in self.tell("squeue", "-h", "-r", "-o", "%i %T", *chosen).splitlines()]
        over = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "PREEMPTED", "OUT_OF_MEMORY")
        return [row[0] for row in rows if row[1] not in over]

    def accounted(self) -> list[dict[str, str]]:
        """Every job that accounting knows: id, state, what it was (the comment), what it had (AllocTRES), when."""
        names = ["JobID", "State", "Comment", "AllocTRES", "ReqMem", "Timelimit", "NodeList", "Start", "End"]
        done = self.run("sacct", "-X", "-D", "-n", "-P", "-S", "now-1days", "-o", ",".join(names))
        assert done.returncode == 0, done.stderr
        return [dict(zip(names, row.split("|"), strict=True)) for row in done.stdout.splitlines()]


def _free_ports(count: int) -> int:
    """The first of `count` free ports in a row on the loopback address."""
    for first in range(26810, 29000, count):
        with suppress(OSError):
            for port in range(first, first + count):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
            return first
    raise AssertionError("no free ports")
