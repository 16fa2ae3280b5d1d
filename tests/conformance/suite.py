"""The cases of the Autobahn testsuite, loaded on Python 3 without touching their files.

The suite (PyPI: autobahntestsuite) is Python 2 source in which byte strings and text are one type. It is
read here as Latin-1, so every byte of a literal becomes the character of the same number, and the cases go on
working on `str` as they did. `latin1` and `octets` convert where the cases meet the wire. What else
Python 3 needs is changed in the syntax tree at import; nothing is written to disk.
"""
import ast
import binascii
import codecs
import importlib.abc
import importlib.util
import os
import re
import sys
import types


def octets(value):
    """The bytes that a case means by a string of its own."""
    return value.encode("latin-1") if isinstance(value, str) else value


def latin1(value):
    """Bytes from the wire as a case's own kind of string."""
    return value.decode("latin-1")


class Utf8Validator:
    """Incremental UTF-8 validation at the speed of the built-in decoder.

    Answers as the engine's own validator does: valid so far, ends on a code point, index in this piece, index
    in all. The indices are those of the piece's end: nothing here reads them.
    """

    def __init__(self):
        self.reset()

    def reset(self):
        self._decoder = codecs.getincrementaldecoder("utf-8")("strict")
        self._total = 0

    def validate(self, piece):
        piece = octets(piece)
        self._total += len(piece)
        try:
            self._decoder.decode(bytes(piece), False)
        except UnicodeDecodeError:
            return False, False, len(piece), self._total
        return True, self._decoder.getstate()[0] == b"", len(piece), self._total


class XorMasker:
    """Frame masking (RFC 6455, 5.3) as one big-integer operation."""

    def __init__(self, mask):
        self._mask = bytes(mask)
        self._at = 0

    def pointer(self):
        return self._at

    def reset(self):
        self._at = 0

    def process(self, data):
        size = len(data)
        turn = self._at & 3
        key = self._mask[turn:] + self._mask[:turn]
        key = (key * (size // 4 + 1))[:size]
        self._at += size
        mixed = int.from_bytes(data, "little") ^ int.from_bytes(key, "little")
        return mixed.to_bytes(size, "little")


def _hex(value):
    return binascii.b2a_hex(octets(value)).decode("ascii")


def _directory():
    spec = importlib.util.find_spec("autobahntestsuite")
    if spec is None:
        raise SystemExit("autobahntestsuite is not installed: use tests/conformance/run")
    return spec.submodule_search_locations[0]


ROOT = _directory()

# Names that the cases import or take for granted in Python 2, given to each module before it runs.
GIVEN = {
    "xrange": range,
    "unichr": chr,
    "binascii": types.SimpleNamespace(b2a_hex=_hex, hexlify=_hex),
    "pkg_resources": types.SimpleNamespace(resource_filename=lambda _package, path: os.path.join(ROOT, path)),
    "Utf8Validator": Utf8Validator,
}

# The engine's permessage-deflate parameters were renamed after the suite was written.
RENAMED = {
    "requestNoContextTakeover": "request_no_context_takeover",
    "requestMaxWindowBits": "request_max_window_bits",
    "acceptNoContextTakeover": "accept_no_context_takeover",
    "acceptMaxWindowBits": "accept_max_window_bits",
}

# Not in the suite's list of cases, and it needs a Zope interface of Python 2.
UNUSED = {"case9_9_1"}


class _ToPython3(ast.NodeTransformer):
    def visit_Import(self, node):
        node.names = [name for name in node.names if name.name not in GIVEN]
        return node if node.names else ast.copy_location(ast.Pass(), node)

    def visit_ImportFrom(self, node):
        node.names = [name for name in node.names if name.name not in GIVEN]
        if node.module in UNUSED or not node.names:
            return ast.copy_location(ast.Pass(), node)
        return node

    def visit_BinOp(self, node):
        self.generic_visit(node)
        if isinstance(node.op, ast.Div):
            node.op = ast.FloorDiv()
        return node

    def visit_Tuple(self, node):
        """`type(name, (object, Case), ...)`: Case descends from object now, so object may not come first."""
        self.generic_visit(node)
        if [getattr(item, "id", None) for item in node.elts] == ["object", "Case"]:
            node.elts = node.elts[1:]
        return node

    def visit_Attribute(self, node):
        self.generic_visit(node)
        node.attr = RENAMED.get(node.attr, node.attr)
        return node

    def visit_keyword(self, node):
        self.generic_visit(node)
        node.arg = RENAMED.get(node.arg, node.arg)
        return node


class _Loader(importlib.abc.Loader):
    def __init__(self, path):
        self._path = path

    def exec_module(self, module):
        with open(self._path, "rb") as file:
            text = file.read().decode("latin-1")
        text = re.sub(r"^#.*coding[:=].*$", "", text, flags=re.M)
        text = re.sub(r"^( *)print (.*)$", r"\1print(\2)", text, flags=re.M)
        tree = ast.fix_missing_locations(_ToPython3().visit(ast.parse(text, self._path)))
        module.__dict__.update(GIVEN)
        exec(compile(tree, self._path, "exec"), module.__dict__)


class _Finder(importlib.abc.MetaPathFinder):
    """Serves the files of the suite's `case` folder as top-level modules, as they name each other."""

    def find_spec(self, name, path=None, target=None):
        if path is not None or not (name == "case" or re.match(r"case\d", name) or name == "suite_cases"):
            return None
        file = os.path.join(ROOT, "case", "__init__.py" if name == "suite_cases" else name + ".py")
        return importlib.util.spec_from_loader(name, _Loader(file)) if os.path.exists(file) else None


def load():
    """All case classes in the suite's order, and their base class."""
    sys.meta_path.insert(0, _Finder())
    import case
    import suite_cases

    # The suite compares pickles, whose bytes also depend on which strings happen to be one object.
    case.Case.compare = lambda _self, one, other: one == other
    return suite_cases.Cases, case.Case


def number(klass):
    """`Case1_2_3` is case 1.2.3."""
    return tuple(int(part) for part in klass.__name__[len("Case"):].split("_"))


def name(klass):
    return ".".join(str(part) for part in number(klass))
