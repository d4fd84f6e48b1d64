# SPDX-License-Identifier: Apache-2.0
"""The agents are killed and come back; programs go on trying all the while.

With no agent there is nobody to ask, so the kernels' counters are read from their maps. What was
let through without a judgement by policy would be counted there, too.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tests.lab import wait_until
from tests.lab.cordon import CordonHost
from tests.lab.demo.live import SOME, Subscription, in_order
from tests.lab.demo.loops import Loop, Loops, tally
from tests.lab.demo.report import Evidence, Report
from tests.lab.demo.scene import DB_PORT, PROGRAM_SECONDS, WEB, Call, Scene, said
from tests.lab.demo.testimony import HELD, kernel_counts, link_pins

ALLOWED = ("allow", "rule_allow")
REFUSED = ("refuse", "no_rule")
HOLD_EXPIRED = ("outcome", "hold_expired")
REJUDGED = ("outcome", "rejudged")
KNOWN = ("allow", "web-reads-db", "shop/db", "tag")
UNJUDGED = (("allow", "no_policy"), ("allow", "adopted"), ("allow", "mode_off"))
QUESTION = "PING\r\nQUIT\r\n"


@dataclass
class Crash:
    """The end of both agents and their return, measured from `began` on.

    newcomer: a program of web that no agent has named before the kill.
    """

    scene: Scene
    loops: Loops
    subscription: Subscription
    newcomer: Call
    began: Counter[tuple[str, str]]

    @property
    def hosts(self) -> Mapping[str, CordonHost]:
        return self.scene.fleet.hosts

    def counts(self) -> Counter[tuple[str, str]]:
        """Of both kernels."""
        return kernel_counts(self.hosts.values())

    def begin(self) -> None:
        """Attempts and verdicts count from here: verdicts first, for each attempt has its own."""
        self.began = self.counts()
        self.loops.mark()

    def counted(self, what: tuple[str, str]) -> int:
        """How often since `begin`."""
        return self.counts()[what] - self.began[what]

    def kill(self) -> str:
        """SIGKILL to both agents; returns the command."""
        pids = [host.agent.pid for host in self.hosts.values() if host.agent is not None]
        for host in self.hosts.values():
            host.kill9()
        self.begin()
        return f"kill -9 {' '.join(map(str, pids))}"

    def restart(self) -> float:
        """Start both; returns how many seconds it took until both were in step with policy."""
        self.begin()
        started = time.monotonic()
        for host in self.hosts.values():
            host.start()
        for host in self.hosts.values():
            host.wait_ready()
            _wait_in_sync(host)
        seconds = time.monotonic() - started
        for name, host in self.hosts.items():
            self.scene.testimony.watch(name, host)
        return seconds

    def allowed(self, attempts: int) -> Evidence:
        """Every attempt of web passed, and was judged at both ends."""
        loops = self.loops.wait(self.loops.allowed, attempts)
        return self._tally(loops, ALLOWED, ends=2)

    def refused(self, attempts: int) -> Evidence:
        """Every attempt of the others failed, and was judged at one end."""
        loops = self.loops.wait(self.loops.refused, attempts)
        return self._tally(loops, REFUSED, ends=1)

    def _tally(self, loops: Sequence[Loop], verdict: tuple[str, str], ends: int) -> Evidence:
        lines, right, wrong = tally(loops)
        made = self.counted(verdict)
        # Of each loop one attempt may have been judged before `begin` and told after it.
        judged = made >= ends * (right - len(loops))
        return Evidence(
            f"{right} right, {len(wrong)} wrong",
            f"{made} verdicts {' '.join(verdict)}" + (", at both ends" if ends == 2 else ""),
            right > 0 and not wrong and judged,
            [*(("", line) for line in lines), *(("wrong", line) for line in wrong[:3])],
        )

    def messages_without_agent(self) -> Evidence:
        """The old connection goes on, and no packet of it asks for a new judgement."""
        seen, complete = self._messages()
        again = self.counted(REJUDGED)
        kernel = f"judged anew {again} times: its socket keeps the verdict"
        return Evidence(seen, kernel, complete and again == 0)

    def messages_with_new_agent(self) -> Evidence:
        """It has come through, and the new agent knows whose it is."""
        seen, complete = self._messages()
        known = self.hosts["front"].sockets(self.subscription.subscriber.pid)
        found = [
            (socket.verdict, socket.rule_name, socket.peer_workload, socket.proof)
            for socket in known
            if socket.local_port == self.subscription.port
        ]
        words = [f"{v}, rule {rule}, peer {peer} by {proof}" for v, rule, peer, proof in found]
        return Evidence(
            seen, f"front: {', '.join(words) or 'no such socket'}", complete and found == [KNOWN]
        )

    def _messages(self) -> tuple[str, bool]:
        """What arrived just now, and whether none is missing since the first."""
        before = len(self.subscription.received())
        self.subscription.wait_received(SOME)
        numbers = self.subscription.received()
        complete = in_order(numbers)
        order = "none missing since the first" if complete else "NOT in order"
        return f"messages {before + 1} to {len(numbers)}, {order}", complete

    def unnamed(self) -> Evidence:
        """Who it is, only an agent could tell: it is held back, and then it is nobody."""
        before = self.counts()
        done = self.scene.run(self.newcomer, QUESTION)
        after = self.counts()
        held, given_up = after[HELD] - before[HELD], after[HOLD_EXPIRED] > before[HOLD_EXPIRED]
        return Evidence(
            f"exit {done.returncode}, {'no connection' if done.returncode else said(done)}",
            f"front holds its SYN back {held} times, then "
            + ("counts it as a stranger" if given_up else "holds it still"),
            done.returncode != 0 and "PONG" not in done.stdout and held > 0 and given_up,
            [("said", said(done))],
        )

    def named(self) -> Evidence:
        """The same program, when there is an agent to tell who it is."""
        mark = self.scene.testimony.mark()
        done = self.scene.run(self.newcomer, QUESTION)
        process = f"exit {done.returncode}, {' '.join(done.stdout.split()) or said(done)}"
        verdict = self.scene.testimony.wait(
            mark, "back", verdict="allow", rule_name="web-reads-db", local_port=DB_PORT
        )
        return Evidence(
            process,
            f"back allows: rule {verdict.flow.rule_name}, peer {verdict.peer} by "
            f"{verdict.flow.proof}",
            done.returncode == 0 and "PONG" in done.stdout,
            [verdict.line],
        )

    def no_gap(self, before: Before) -> Evidence:
        """The hooks are the ones of before, and nothing was let through without policy."""
        same = all(link_pins(host) == before.links[name] for name, host in self.hosts.items())
        states = [host.status() for host in self.hosts.values()]
        attached = sum(state.hooks_attached for state in states)
        expected = sum(state.hooks_expected for state in states)
        now = self.counts()
        unjudged = sum(now[verdict] - before.counts[verdict] for verdict in UNJUDGED)
        links = "the links of before the kill" if same else "NOT the links of before the kill"
        return Evidence(
            f"{attached} of {expected} hooks attached, by {links}",
            f"{unjudged} passed without a judgement",
            same and attached == expected and unjudged == 0,
        )


@dataclass(frozen=True)
class Before:
    """How both kernels stood before the kill."""

    counts: Counter[tuple[str, str]]
    links: Mapping[str, Mapping[str, int]]


def show(scene: Scene, report: Report, subscription: Subscription) -> None:
    """Kill, look, start again, look."""
    argv = ["curl", "-sS", "--connect-timeout", "4", f"telnet://{scene.back.v4}:{DB_PORT}"]
    newcomer = Call(*WEB, argv, scene.back.v4, DB_PORT)
    crash = Crash(scene, Loops.start(scene), subscription, newcomer, Counter())
    crash.loops.wait()
    links = {name: link_pins(host) for name, host in crash.hosts.items()}
    before = Before(crash.counts(), links)
    _killed(crash, report)
    _restarted(crash, report, before)


def _killed(crash: Crash, report: Report) -> None:
    report.step(
        "Both agents are killed",
        "Agents only tell the kernels what policy is. With none left the kernels go on with the "
        "last one, for processes old and new: here bash and redis-cli connect again and again.",
    )
    kill = crash.kill()
    report.check(
        "what is allowed passes",
        f"{kill}; web connects to redis",
        lambda: crash.allowed(20),
    )
    report.check(
        "what is refused stays refused",
        f"{kill}; stranger and someone connect to redis",
        lambda: crash.refused(20),
    )
    report.check(
        "the live connection goes on",
        crash.subscription.call.text,
        crash.messages_without_agent,
    )
    report.check(
        "a program that no agent has named yet gets nothing", crash.newcomer.text, crash.unnamed
    )


def _restarted(crash: Crash, report: Report, before: Before) -> None:
    report.step(
        "The agents start again",
        "They find their programs in place and change nothing. bash and redis-cli have been trying "
        "all the while: none may be let through, and none turned away, in error.",
    )
    seconds = crash.restart()
    restart = f"start of both agents, {seconds:.1f} s"
    report.check(
        "allowed connections during the restart",
        f"{restart}; web connects to redis",
        lambda: crash.allowed(10),
    )
    report.check(
        "refused connections during the restart",
        f"{restart}; stranger and someone connect to redis",
        lambda: crash.refused(10),
    )
    report.check(
        "the live connection came through it all",
        crash.subscription.call.text,
        crash.messages_with_new_agent,
    )
    report.check(
        "the hooks were never off", "from before the kill until now", lambda: crash.no_gap(before)
    )
    report.check(
        "the program that no agent had named is named now", crash.newcomer.text, crash.named
    )


def _wait_in_sync(host: CordonHost) -> None:
    wait_until(
        lambda: host.status().state == "in_sync",
        f"the agent on {host.lab.name} is in step with policy",
        timeout=PROGRAM_SECONDS,
    )
