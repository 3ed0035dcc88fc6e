"""``storage-server install-service``: write the unit and the configuration of a server."""

import argparse
import dataclasses
import os
from pathlib import Path

from redundancy.errors import AlreadyExists, ExitCode
from redundancy.terminal import Terminal
from storage_server.coordinator.config import CoordinatorConfig
from storage_server.node.config import NodeConfig
from storage_server.service_unit import Service, config_file
from storage_server.settings import Setting, as_toml


def install_node(args: argparse.Namespace, terminal: Terminal) -> int:
    """Install a node."""
    settings = args.options.resolve(args)
    NodeConfig.from_args(args)  # what is wrong is said now, not at the next start of the machine
    return _install("node", args, settings, terminal)


def install_coordinator(args: argparse.Namespace, terminal: Terminal) -> int:
    """Install a coordinator."""
    settings = args.options.resolve(args)
    CoordinatorConfig.from_args(args)
    return _install("coordinator", args, settings, terminal)


def _install(
    kind: str, args: argparse.Namespace, settings: tuple[Setting, ...], terminal: Terminal
) -> int:
    name = args.service_name or f"evenflow-{kind}"
    etc, units = _folders(is_user=args.user)
    said = tuple(_absolute(each) for each in settings if each.source != "default")
    service = Service(
        kind=kind,
        name=name,
        data_dir=Path(args.data).absolute(),
        config_path=etc / f"{name.removeprefix('evenflow-')}.toml",
        run_as=None if args.user else args.run_as,
        reads=tuple(Path(str(each.value)) for each in said if each.is_path and each.name != "data"),
    )
    texts = {
        service.config_path: config_file(kind, [as_toml(said, sources=False)]),
        units / f"{name}.service": service.unit(),
    }
    if args.print_config or args.dry_run:
        terminal.result(_payload(service, texts), human=_shown(service, texts))
        return ExitCode.OK
    for path, text in texts.items():
        _refuse_to_overwrite(path, text, is_forced=args.force)
    for path, text in texts.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        path.chmod(0o644)
    lines = [*(f"wrote {path}" for path in texts), "next:"]
    lines += [f"  {step}" for step in service.next_steps]
    terminal.result(_payload(service, texts), human="\n".join(lines))
    return ExitCode.OK


def _folders(*, is_user: bool) -> tuple[Path, Path]:
    """Return where configurations and units are kept."""
    if not is_user:
        return Path("/etc/evenflow"), Path("/etc/systemd/system")
    base = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return base / "evenflow", base / "systemd" / "user"


def _absolute(setting: Setting) -> Setting:
    """Name files as the service finds them, wherever it is started."""
    if not setting.is_path or setting.value is None:
        return setting
    return dataclasses.replace(setting, value=str(Path(str(setting.value)).absolute()))


def _refuse_to_overwrite(path: Path, text: str, *, is_forced: bool) -> None:
    if not is_forced and path.exists() and path.read_text(encoding="utf-8") != text:
        raise AlreadyExists(
            f"{path} is there already, and says something else",
            hint="look with --dry-run, then say --force; or take another --service-name",
        )


def _payload(service: Service, texts: dict[Path, str]) -> dict[str, object]:
    return {
        "service": service.name,
        "files": {str(path): text for path, text in texts.items()},
        "next": service.next_steps,
    }


def _shown(service: Service, texts: dict[Path, str]) -> str:
    parts = [f"# {path}\n{text}" for path, text in texts.items()]
    return "\n".join([*parts, "# then", *service.next_steps])
