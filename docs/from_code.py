"""Directives whose content is read from the code: options of the tools, names in the registries."""

import inspect
import re
from importlib import import_module
from itertools import groupby

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.ext import napoleon
from sphinx.util.docutils import SphinxDirective

from mmrobust import cli, registry  # noqa: F401 - cli: OpenMMLab is imported without its warnings
from tests.tool_loading import TOOLS, load_tool, parser_of, tools

COMMAND = re.compile(r'(python|torchrun|\w+=\S+ )')


class Tools(SphinxDirective):
    """A section for each command line tool: its docstring, with commands to copy, and its options."""

    def run(self) -> list[nodes.Node]:
        return self.parse_text_to_nodes('\n'.join(map(section_of, tools())), allow_section_headings=True)


def section_of(path) -> str:
    """Markdown of a tool."""
    module = load_tool(path)
    parser = parser_of(module)
    lines = [f'## {path.relative_to(TOOLS.parent)}', '']
    for is_code, group in groupby(inspect.getdoc(module).splitlines(), lambda line: bool(COMMAND.match(line))):
        text = '\n'.join(group)
        # the docstring's own \ at the end of a line has joined it and the next
        lines.append('```bash\n' + re.sub(r' {4,}-', ' \\\\\n    -', text) + '\n```' if is_code else text)
    lines.append('')
    formatter = parser._get_formatter()
    for group in parser._action_groups:
        actions = [action for action in group._group_actions if action.help not in ('==SUPPRESS==', None)]
        actions = [action for action in actions if action.dest != 'help']
        if actions:
            lines += [f'| {group.title} | |', '|---|---|']
            for action in actions:
                names = cell(formatter._format_action_invocation(action))
                needed = ', needed' if action.required and action.option_strings else ''
                lines.append(f'| `{names}`{needed} | {cell(formatter._expand_help(action))} |')
            lines.append('')
    return '\n'.join(lines)


class Registries(SphinxDirective):
    """A table for each registry: the name in a config, and what it is."""

    def run(self) -> list[nodes.Node]:
        lines = []
        for kind in registry.__all__:
            types = getattr(registry, kind)
            types.import_from_location()
            prefix = f'{types.scope}.' if types.parent else ''
            lines += [f'## {kind}', '', '| name | what |', '|---|---|']
            for name, value in sorted(types.module_dict.items()):
                lines.append(f'| {linked(f"{prefix}{name}", value)} | {summary(value)} |')
            lines.append('')
        return self.parse_text_to_nodes('\n'.join(lines), allow_section_headings=True)


def linked(name: str, value: type) -> str:
    """The name, as a link where the API reference has it: in the package that exports it."""
    parts = value.__module__.split('.')
    for depth in range(2, len(parts) + 1):
        module = '.'.join(parts[:depth])
        if value.__name__ in getattr(import_module(module), '__all__', ()):
            return f'{{py:obj}}`{name} <{module}.{value.__name__}>`'
    return f'`{name}`'


def summary(value: type) -> str:
    """First sentence of a docstring."""
    paragraph = inspect.getdoc(value).split('\n\n')[0].replace('\n', ' ')
    return cell(re.sub(r':\w+:`~?(.+?)`', r'`\1`', paragraph))


def cell(text: str) -> str:
    return text.replace('|', r'\|').replace('<', r'\<').replace('*', r'\*').replace('\n', ' ')


def skip_fields(app: Sphinx, what: str, name: str, member: object, *_) -> bool | None:
    """Fields of a named tuple, which its docstring describes, are not listed a second time."""
    return str(getattr(member, '__doc__', '')).startswith('Alias for field') or None


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive('tools', Tools)
    app.add_directive('registries', Registries)
    app.connect('autodoc-skip-member', skip_fields)
    # napoleon may not ask members to be shown: it reads them from their classes, where MMCV's cache_randomness fails
    for listener in list(app.events.listeners['autodoc-skip-member']):
        if listener.handler is napoleon._skip_member:
            app.disconnect(listener.id)
    return {'parallel_read_safe': True}
