"""Secrets are compared in constant time, everywhere in the core."""

import ast
from pathlib import Path

import receiver.core.signature

SIGNATURE = Path(receiver.core.signature.__file__).parent
#: Names that hold a MAC, a signature or a credential there.
SECRET = {"mac", "signature", "signatures", "expected", "digest", "secret", "token", "proof", "raw", "held"}


def named(node: ast.expr) -> set[str]:
    """The names and attributes in an expression."""
    return {part.id for part in ast.walk(node) if isinstance(part, ast.Name)} | {
        part.attr for part in ast.walk(node) if isinstance(part, ast.Attribute)
    }


def test_a_secret_is_compared_by_compare_digest_only() -> None:
    """No ``==``, ``!=`` or ``in`` meets a MAC or a credential; time tells nobody how much of it matched."""
    offences = []
    for module in ("proof", "verify", "sign", "jwt", "twilio", "content", "extraction"):
        tree = ast.parse((SIGNATURE / f"{module}.py").read_text("utf-8"))
        for node in ast.walk(tree):
            if not isinstance(node, ast.Compare):
                continue
            if not any(isinstance(op, (ast.Eq, ast.NotEq, ast.In, ast.NotIn)) for op in node.ops):
                continue
            sides = [node.left, *node.comparators]
            # Sizes, None and the sender's own text hold nothing secret.
            if any(isinstance(side, (ast.Constant, ast.Set)) for side in sides):
                continue
            text = ast.unparse(node)
            if "len(" in text or "b2a_base64(raw" in text:
                continue
            if any(named(side) & SECRET for side in sides):
                offences.append(f"{module}:{node.lineno}: {text}")
    assert offences == []


def test_every_verifier_of_a_shared_secret_uses_compare_digest() -> None:
    """The three places where a shared secret meets a message are the three that call it."""
    for module in ("proof", "verify", "jwt"):
        assert "hmac.compare_digest(" in (SIGNATURE / f"{module}.py").read_text("utf-8")
