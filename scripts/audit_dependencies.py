"""Ask a service for known vulnerabilities of the installed packages (pip-audit), and believe only one that has any.

    python scripts/audit_dependencies.py

Exit status 1: a package has a known vulnerability. 0: none is known, or nothing could be asked, which is said as
"not audited". pip-audit itself ends with 1 for both, and passes when an index answers without vulnerabilities (a
mirror, say): so each service first has to report a vulnerability that everyone knows.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

SERVICES = ("pypi", "osv")
KNOWN = "jinja2==2.10"  # CVE-2019-10906
NOT_OURS = ("raglift", "pip")  # itself, and what Python puts into an environment
CONNECT, PROBE, AUDIT = 5, 60, 600  # seconds at most: for one answer, for KNOWN, for everything


def list_pins() -> list[str]:
    """`name==version` of every installed package, without the local part that no service knows (`+cpu`)."""
    versions = {one.metadata["Name"].lower(): one.version.partition("+")[0] for one in distributions()}
    return [f"{name}=={version}" for name, version in sorted(versions.items()) if name not in NOT_OURS]


def ask_service(service: str, pins: list[str], seconds: float) -> list[dict[str, Any]] | str:
    """What pip-audit says of each pin (`name`, `version`, `vulns` or `skip_reason`), or why it says nothing."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "requirements.txt")
        file.write_text("\n".join(pins) + "\n", encoding="utf-8")
        options = ["-r", str(file), "--no-deps", "--disable-pip", "-f", "json", "--progress-spinner", "off"]
        command = [sys.executable, "-m", "pip_audit", "-s", service, "--timeout", str(CONNECT), *options]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
        except subprocess.TimeoutExpired:
            return f"no answer within {seconds:g} s"
    try:
        answer: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):  # nothing on standard output: it could not ask
        last = (done.stderr.strip().splitlines() or [f"pip-audit ended with {done.returncode}"])[-1]
        return last.rpartition("(Caused by ")[2][:200]
    return answer


def find_service() -> tuple[str | None, list[str]]:
    """The first service that reports the known vulnerability, and why the others before it are of no use."""
    reasons = []
    for service in SERVICES:
        answer = ask_service(service, [KNOWN], PROBE)
        if isinstance(answer, str):
            reasons.append(f"{service}: {answer}")
        elif any(one.get("vulns") for one in answer):
            return service, reasons
        else:
            reasons.append(f"{service}: answers, but knows no vulnerability of {KNOWN}")
    return None, reasons


def audit_dependencies() -> int:
    service, reasons = find_service()
    if service is None:
        print("not audited: no service tells known vulnerabilities\n  " + "\n  ".join(reasons))
        return 0
    answer = ask_service(service, list_pins(), AUDIT)
    if isinstance(answer, str):
        print(f"not audited: {service}: {answer}")
        return 0
    for one in answer:
        if "skip_reason" in one:
            print(f"not audited: {one['skip_reason']}")
        for found in one.get("vulns", []):
            fixed = ", ".join(found["fix_versions"]) or "no version yet"
            print(
                f"vulnerable: {one['name']} {one['version']}: {found['id']} (fixed in {fixed}): {found['description']}"
            )
    audited = [one for one in answer if "skip_reason" not in one]
    bad = sum(bool(one["vulns"]) for one in audited)
    print(f"audited: {len(audited)} of {len(answer)} packages with {service}, {bad} with a known vulnerability")
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(audit_dependencies())
