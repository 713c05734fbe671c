"""Hides passwords in texts, in each spelling, and leaves our own words alone.

A password can be a word such as `users`. If that word were hidden everywhere, file names and our
own sentences would be spoiled, and the gaps would tell the password to whoever knows these texts.
So it depends on the password where it is hidden:

- A *random* password is hidden wherever it stands, even inside a longer word. It has at least 8
  characters and does not consist of words, or it has at least 24 characters. A word here is letters
  in one case, with or without a capital at the beginning and digits at the end; words are joined by
  blanks, hyphens and underscores.
- Any other password is hidden where only a password can stand: in a URL before the `@`, after
  `password=`, and in quotes after `PASSWORD`. In the words of others, such as the server's
  messages, statements and other sessions' queries, it is also hidden in single quotes; and, from
  four characters on, as a word of its own, but not as a part of a longer word.
- A password that is also the name of the login, the database or the host is hidden only where
  nothing but a password can stand. For these names are in most messages.

Each character of a password is found as it is, percent-encoded as in a URL, and escaped as in an
SQL string, in JSON and in Python.
"""

from __future__ import annotations

import re
from functools import cached_property
from typing import NamedTuple

_PLACEHOLDER = "[password]"
_RANDOM = 8  # characters of a password that does not consist of words
_LONG = 24  # characters of a password that is hidden everywhere though it consists of words
_TOKEN = 4  # characters of a password that is hidden as a word of its own
_ALL_SPELLED = 200  # characters of a password whose letters and digits may be escaped too
_CUT = 6  # characters of a password that are hidden at the end of a text that was cut
_CUT_WORDS = 16  # the same, when they consist of words
_PLAIN = re.compile(r"[A-Za-z0-9_.~-]+")  # what is only changed into a spelling with % or \\
_ENDINGS = ("...", "…")  # how the server and we mark the end of a text that was cut
# What stands before a password. Group 1 stays.
_IN_URL = r"(://[^\s:/@]*:)"
_AFTER_EQUALS = r"((?i:password)[\"']?\s*=\s*E?[\"']?)"
_AFTER_KEYWORD = r"((?i:password)[\"']?\s*:?\s*E?[\"'])"
# The blanks of a password, also where a text was wrapped or its blanks were joined.
_BLANKS = r"(?:[\s+]|(?i:%|\\u00|\\x)(?i:20|09|0a|0d)|\\[nrt]|<U\+000[9AD]>)+"


class _Range(NamedTuple):
    """A part of a text that is hidden, from its first character to the one after its last."""

    start: int
    end: int


class Secret:
    """A password, and where it is hidden.

    Attributes:
        text: the password, without blanks around it.
        is_name: whether it is also a name that messages need.
        is_random: whether it is hidden everywhere.
    """

    def __init__(self, text: str, *, is_name: bool = False) -> None:
        self.text = text.strip()
        self.is_random = not is_name and _is_random(self.text)
        self.is_name = is_name
        self._longest_part = max(_PLAIN.findall(self.text), key=len, default="")

    def may_be_in(self, text: str) -> bool:
        """Return whether a text needs a closer look, for which a pattern has to be compiled."""
        return self._longest_part in text or "%" in text or "\\" in text

    @cached_property
    def everywhere(self) -> str:
        """The pattern of the places where the password is hidden in any text."""
        spelled = self._spelled
        if self.is_random:
            return spelled
        return "|".join(
            (
                f"{_IN_URL}{spelled}(?=@)",
                f"{_AFTER_EQUALS}{spelled}{self._end}",
                f"{_AFTER_KEYWORD}{spelled}(?=[\"'])",
            )
        )

    @cached_property
    def in_quotes(self) -> str:
        """The pattern of further places, in texts of others."""
        if self.is_random or self.is_name:
            return self.everywhere
        return f"{self.everywhere}|(?<!')('){self._spelled}(?='(?!'))"

    @cached_property
    def as_token(self) -> str:
        """The pattern of still further places, in texts of others that are no definitions."""
        if self.is_random or self.is_name or len(self.text) < _TOKEN:
            return self.in_quotes
        begin = r"(?<!\w)" if _is_word(self.text[0]) else ""
        return f"{self.in_quotes}|{begin}{self._spelled}{self._end}"

    def cut_in(self, text: str) -> int:
        """Return how many characters of a random password are at the end of a text that was cut.

        A few words at the beginning of a long password may be the end of a sentence.
        """
        if not self.is_random:
            return 0
        return next(
            (
                n
                for n in range(len(self.text) - 1, _CUT - 1, -1)
                if text.endswith(self.text[:n]) and (n >= _CUT_WORDS or not _are_words(text[-n:]))
            ),
            0,
        )

    @property
    def _end(self) -> str:
        return r"(?!\w)" if _is_word(self.text[-1]) else ""

    @cached_property
    def _spelled(self) -> str:
        # A token of 2000 characters would take half a second to compile.
        spelled = _spellings if len(self.text) <= _ALL_SPELLED else _usual_spellings
        words = re.split(r"\s+", self.text)
        return _BLANKS.join("".join(map(spelled, word)) for word in words)


class Redactor:
    """Replaces the passwords that it knows by a placeholder.

    Attributes:
        secrets: the passwords, by their text.
    """

    def __init__(self) -> None:
        self.secrets: dict[str, Secret] = {}
        self._patterns: dict[tuple[str, tuple[str, ...]], re.Pattern[str]] = {}

    def hide(self, secret: str, *, is_name: bool = False) -> None:
        """Hide a password from now on; of two calls with the same password, the last one counts.

        Args:
            secret: the password.
            is_name: whether it is also the name of the login, the database or the host.
        """
        known = self.secrets.get(secret)
        if secret.strip() and (known is None or known.is_name != is_name):
            # Another thread may be going through the old ones.
            self.secrets = {**self.secrets, secret: Secret(secret, is_name=is_name)}

    def ours(self, text: str) -> str:
        """Return a text of ours, or a name, with what is certainly a password replaced."""
        return self._replaced(text, "everywhere")

    def definition(self, text: str) -> str:
        """Return the SQL of an object with every password replaced that is in quotes, or random."""
        return self._replaced(text, "in_quotes")

    def of_others(self, text: str) -> str:
        """Return a text of others with every password replaced, also one that was cut.

        It has to be redacted before it is cut: a part of a password is not recognised, except at
        the end of the text, where the server may have cut it.
        """
        text = self._replaced(text, "as_token")
        for secret in self.secrets.values():
            ending = next((ending for ending in _ENDINGS if text.endswith(ending)), "")
            rest = text.removesuffix(ending)
            if cut := secret.cut_in(rest):
                text = f"{rest[:-cut]}{_PLACEHOLDER}{ending}"
        return text

    def of_others_at(self, text: str, offset: int) -> tuple[str, int]:
        """Return a text of others as `of_others` does, and where one of its characters is then."""
        redacted = self.of_others(text)
        if redacted == text:
            return text, offset
        moved = offset
        for hidden in self._hidden(text, "as_token"):
            if hidden.end <= offset:
                moved += len(_PLACEHOLDER) - (hidden.end - hidden.start)
            elif hidden.start < offset:
                moved -= offset - hidden.start
        return redacted, min(moved, len(redacted))

    def _replaced(self, text: str, places: str) -> str:
        parts, end = [], 0
        for hidden in self._hidden(text, places):
            parts += [text[end : hidden.start], _PLACEHOLDER]
            end = hidden.end
        return "".join([*parts, text[end:]]) if parts else text

    def _hidden(self, text: str, places: str) -> list[_Range]:
        """Return the parts of a text that are hidden, in their order."""
        if not self.secrets:
            return []
        suspects = [secret for secret in self.secrets.values() if secret.may_be_in(text)]
        if not suspects:
            return []
        matches = self._pattern(places, suspects).finditer(text)
        return [
            _Range(match.end(match.lastindex) if match.lastindex else match.start(), match.end())
            for match in matches
        ]

    def _pattern(self, places: str, secrets: list[Secret]) -> re.Pattern[str]:
        # The longest first, because one password can be the beginning of another one.
        ordered = sorted(secrets, key=lambda secret: len(secret.text), reverse=True)
        parts = [str(getattr(secret, places)) for secret in ordered]
        key = (places, tuple(parts))
        if key not in self._patterns:
            self._patterns[key] = re.compile("|".join(parts))
        return self._patterns[key]


def _is_random(secret: str) -> bool:
    """Return whether a password is so unlike words that it is hidden inside of words too."""
    if len(secret) >= _LONG:
        return True
    return len(secret) >= _RANDOM and not _are_words(secret)


def _are_words(text: str) -> bool:
    return all(map(_is_ordinary, re.split(r"[ _-]+", text)))


def _is_ordinary(word: str) -> bool:
    letters = word.rstrip("0123456789")
    one_case = letters.islower() or letters.isupper() or letters.istitle()
    return not letters or (letters.isalpha() and one_case)


def _is_word(character: str) -> bool:
    return character.isalnum() or character == "_"


def _spellings(character: str) -> str:
    """Return a pattern of every spelling of one character of a password."""
    code = ord(character)
    encoded = character.encode("utf-8", "surrogateescape")
    escapes = [
        "".join(f"%{byte:02x}" for byte in encoded),
        "".join(rf"\\u{unit:04x}" for unit in _utf16(character)),
        rf"\\x{code:02x}" if code < 0x100 else "",  # noqa: PLR2004 - what two digits can say
        rf"\\U{code:08x}" if code > 0xFFFF else "",  # noqa: PLR2004 - what four digits cannot say
    ]
    spellings = [f"(?i:{'|'.join(filter(None, escapes))})"]
    if character in "\"'\\/":
        spellings.append(rf"\\{re.escape(character)}")
    if character == "'":
        spellings.append("''")
    if not character.isprintable() or character in "#:":
        spellings.append(rf"<U\+{code:04X}>")  # as `terminal.visible` writes it
    spellings.append(re.escape(character))
    return f"(?:{'|'.join(spellings)})"


def _usual_spellings(character: str) -> str:
    """Return a pattern of the spellings of one character; a letter or digit is never escaped."""
    is_plain = character.isascii() and character.isalnum()
    return character if is_plain else _spellings(character)


def _utf16(character: str) -> list[int]:
    """Return the units of UTF-16 in which JSON escapes a character."""
    data = character.encode("utf-16-be", "surrogatepass")
    return [int.from_bytes(data[i : i + 2], "big") for i in range(0, len(data), 2)]
