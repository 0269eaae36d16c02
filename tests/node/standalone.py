"""Real nodes in standalone mode: one that somebody runs, and go-xrpl, installed as a Go module (XRPL.md C).

Their ledger lives in memory, so they are not killed: the engine, the writer and the connection are. Everything on
them is paid for by the genesis account, as on every new ledger.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from urllib.parse import urlsplit

from tests.e2e.pair import REPO, WAIT_S
from tests.node.console import Console, NodeGone
from tests.node.nodes import DoubleNode, Node, NodeUnavailable
from tests.node.parties import GENESIS_SEED, Party

GO_MODULE = "github.com/LeJamon/go-xrpl"
PROGRAMS = REPO / "data/go-xrpl/bin"  # a cache: the next run finds the program here
INSTALL_S = 900
POOL_FEE_DROPS = 2_000_000  # creating a pool costs an owner reserve instead of the usual fee
LOOK_S = 0.05

# Amendments come from this list; `online_delete` and `earliest_seq` must be 0 and 1; no genesis file (XRPL.md C).
CONFIGURATION = """\
[server]
port_ws_local

[port_ws_local]
port = {port}
ip = 127.0.0.1
admin = 127.0.0.1
protocol = ws

[node_db]
type = memory
path = {directory}/node_db
online_delete = 0
earliest_seq = 1

[database_path]
{directory}

[amendments]
upvote = AMM, fixAMMOverflowOffer, fixAMMv1_1, fixAMMv1_2, fixAMMv1_3, fixFillOrKill, XRPFees
"""


def node_of(kind: str, directory: Path) -> Node:
    """The node of this kind: `double`, `go-xrpl`, or the ws:// address of one that runs. Raises `NodeUnavailable`."""
    if kind == "double":
        return DoubleNode(directory)
    if kind == "go-xrpl":
        return StandaloneNode(kind, f"ws://127.0.0.1:{_free_port()}", _installed(), directory)
    return StandaloneNode(kind, kind, None, directory)


class StandaloneNode:
    """A real node. Without a `program` it runs already, and goes on running when the proof is over.

    How go-xrpl is started is the one thing here that only a run with it can prove: a node that does not come up fails
    the proof, with its last word. One that was started by hand is reached by its address.
    """

    can_be_killed = False

    def __init__(self, name: str, url: str, program: Path | None, directory: Path) -> None:
        self.name = name
        self.url = url
        self.port = urlsplit(url).port or 6006
        self._program = program
        self._directory = directory
        self._popen: subprocess.Popen[bytes] | None = None
        self._genesis: Party | None = None

    def start(self) -> None:
        if self._program is not None:
            self._spawn(self._program)
        with closing(Console(self.url)) as console:
            for _ in range(round(WAIT_S / LOOK_S)):
                try:
                    console.ask("server_info")
                    return
                except NodeGone as error:
                    self._still_starting(error)
        raise NodeUnavailable(f"{self.name} does not answer on {self.url}")

    def kill(self) -> None:
        raise AssertionError("the schedule spares nodes whose ledger would be gone")

    def is_running(self) -> bool:
        return self._popen is None or self._popen.poll() is None

    def fund(self, console: Console, address: str, drops: int) -> None:
        if self._genesis is None:
            info = console.ask("server_info")["info"]
            self._genesis = Party("genesis", GENESIS_SEED, console, int(info.get("network_id") or 0))
            self._genesis.catch_up()
        self._genesis.must("Payment", Destination=address, Amount=str(drops))

    def create_pool(self, owner: Party, drops: int, issuer: str, value: Decimal, trading_fee: int) -> None:
        owner.must(
            "AMMCreate", Amount=str(drops), Amount2=owner.tokens(value, issuer), TradingFee=trading_fee,
            Fee=str(POOL_FEE_DROPS),
        )  # fmt: skip

    def close(self) -> None:
        if self._popen is not None:
            self._popen.kill()
            self._popen.wait(WAIT_S)
            self._popen = None

    def _spawn(self, program: Path) -> None:
        configuration = self._directory / "node.cfg"
        configuration.write_text(CONFIGURATION.format(port=self.port, directory=self._directory))
        with self._log().open("ab") as log:
            self._popen = subprocess.Popen(
                [str(program), "server", "--standalone", "--conf", str(configuration)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self._directory,
            )  # fmt: skip

    def _still_starting(self, error: NodeGone) -> None:
        if self._popen is None:
            raise NodeUnavailable(f"no node answers on {self.url}: {error}") from error
        try:
            code = self._popen.wait(LOOK_S)
        except subprocess.TimeoutExpired:
            return
        last = self._log().read_text(errors="replace").strip().splitlines()[-1:]
        raise NodeUnavailable(f"{self.name} ended with {code} when it was started: {last}") from error

    def _log(self) -> Path:
        return self._directory / "node.log"


def _installed() -> Path:
    """go-xrpl's program, from an earlier run or installed now. Raises `NodeUnavailable`."""
    if (there := _program()) is not None:
        return there
    go = shutil.which("go")
    if go is None:
        raise NodeUnavailable("there is no Go here (1.24 or newer), so no node of go-xrpl")
    try:
        done = subprocess.run(
            [go, "install", f"{GO_MODULE}/cmd/...@latest"],
            capture_output=True, text=True, check=False, timeout=INSTALL_S, env={**os.environ, "GOBIN": str(PROGRAMS)},
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise NodeUnavailable(f"{GO_MODULE} was not installed in {INSTALL_S} s") from None
    program = _program()
    if done.returncode != 0 or program is None:
        why = (done.stderr.strip().splitlines() or ["no program was built"])[-1]
        raise NodeUnavailable(f"{GO_MODULE} cannot be installed with Go here: {why}")
    return program


def _program() -> Path | None:
    return next(iter(sorted(PROGRAMS.glob("*xrpl*"))), None)


def _free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as probe:
        return int(probe.getsockname()[1])
