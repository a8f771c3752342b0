"""The configuration: from YAML text to immutable classes, with every problem at its line and column.

`load` reads files, `loads` a string. Both return a `Loaded` with the configuration or the reasons why there
is none; neither raises for bad input. Nothing here knows of trio or HTTP.
"""

from swapd.config.configuration import Config
from swapd.config.frozen import FrozenMap
from swapd.config.loader import Loaded, load, loads
from swapd.config.model import Capabilities, Compat, Filters, Fingerprint, ModelConfig, Timeouts
from swapd.config.names import ApiKey, Peer, Profile, Selector
from swapd.config.problems import Problem, Severity
from swapd.config.render import problem_as_json, render_problem, render_problems
from swapd.config.routing import Group, Matrix, MatrixSet, Routing
from swapd.config.sources import Sources

__all__ = [
    "ApiKey",
    "Capabilities",
    "Compat",
    "Config",
    "Filters",
    "Fingerprint",
    "FrozenMap",
    "Group",
    "Loaded",
    "Matrix",
    "MatrixSet",
    "ModelConfig",
    "Peer",
    "Problem",
    "Profile",
    "Routing",
    "Selector",
    "Severity",
    "Sources",
    "Timeouts",
    "load",
    "loads",
    "problem_as_json",
    "render_problem",
    "render_problems",
]
