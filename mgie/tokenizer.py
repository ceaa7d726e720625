"""The tokenizer of a pipeline: LLaMA's sentencepiece model or any tokenizer.json, behind one small interface.

Why not transformers' own: its LLaMA tokenizers changed twice in how they treat white space beside added tokens, and
the trained weights remember the old ways (mgie.prompts). Every special id is looked up, none is a constant.
"""

from collections.abc import Callable, Iterable
from pathlib import Path

from mgie.io.files import naming, read_json, write_json
from mgie.prompts import ADDED_TOKENS, SENTENCE_TOKENS, Rule, encode_pieces
from mgie.visual_tokens import VISUAL_TOKENS

SENTENCEPIECE, TOKENIZERS, SPECIAL = "tokenizer.model", "tokenizer.json", "special_tokens.json"


class Tokenizer:
    def __init__(
        self,
        encode_piece: Callable[[str], list[int]],
        decode_piece: Callable[[list[int]], str],
        special: dict[str, int],
        source: tuple[str, bytes] | None = None,
    ) -> None:
        """encode_piece, decode_piece: text without special tokens <-> ids. special: token -> id.

        source: file name and content of what they were read from, for saving.
        An LLM without eyes has no image tokens; the visual tokens are missing only where nothing is edited (LLaVA).
        """
        missing = [token for token in SENTENCE_TOKENS if token not in special]
        if missing:
            raise ValueError(f"tokenizer: no id for {', '.join(missing)}; known special tokens: {', '.join(special)}")
        self._encode_piece, self._decode_piece = encode_piece, decode_piece
        self.special, self._source = dict(special), source
        self.pad, self.bos, self.eos = (special[token] for token in SENTENCE_TOKENS)

    @property
    def image_start(self) -> int | None:
        return self.special.get("<im_start>")

    @property
    def image_patch(self) -> int | None:
        return self.special.get("<im_patch>")

    @property
    def visual(self) -> list[int]:
        """The ids of [IMG0]..[IMG7]; an ablation's tokenizer has only the first of them."""
        known = [token for token in VISUAL_TOKENS if token in self.special]
        missing = [token for token in VISUAL_TOKENS[: max(1, len(known))] if token not in self.special]
        if missing:
            raise ValueError(f"tokenizer: no id for {', '.join(missing)}; this one is a plain LLaMA's")
        return [self.special[token] for token in known]

    def with_visual(self, count: int) -> "Tokenizer":
        """The same with the first `count` visual tokens only, in what it saves as well."""
        gone = VISUAL_TOKENS[count:]
        kept = {token: i for token, i in self.special.items() if token not in gone}
        return Tokenizer(self._encode_piece, self._decode_piece, kept, self._source)

    def encode(self, text: str, rule: Rule = "fast") -> list[int]:
        """Ids of text in which special tokens are written out; <s> first."""
        return encode_pieces(text, self._encode_piece, self.special, rule)

    def decode(self, ids: Iterable[int]) -> str:
        """Text in which special tokens are written out."""
        names = {i: token for token, i in self.special.items()}
        parts: list[str] = []
        piece: list[int] = []
        for i in [*ids, None]:
            if i is not None and i not in names:
                piece.append(i)
                continue
            if piece:
                parts.append(self._decode_piece(piece).strip())
            piece = []
            parts.append("" if i is None else names[i])
        return " ".join(part for part in parts if part)

    @classmethod
    def from_sentencepiece(cls, file: Path, added: dict[str, int] | Iterable[str] = ADDED_TOKENS) -> "Tokenizer":
        """file: LLaMA's tokenizer.model. added: ids by token, or tokens that get the next free ids."""
        from sentencepiece import SentencePieceProcessor

        model = SentencePieceProcessor(model_file=str(file))
        if not isinstance(added, dict):
            added = {token: model.get_piece_size() + i for i, token in enumerate(added)}
        special = {token: model.piece_to_id(token) for token in SENTENCE_TOKENS} | added
        return cls(model.encode, model.decode, special, (SENTENCEPIECE, Path(file).read_bytes()))

    @classmethod
    def from_tokenizers(cls, file: Path, added: dict[str, int] | None = None) -> "Tokenizer":
        """file: a tokenizer.json of the `tokenizers` library whose vocabulary holds the special tokens, or `added`."""
        from tokenizers import Tokenizer as Json

        model = Json.from_file(str(file))
        ids = {token: model.token_to_id(token) for token in (*SENTENCE_TOKENS, *ADDED_TOKENS)} | (added or {})
        return cls(
            lambda text: model.encode(text, add_special_tokens=False).ids,
            lambda ids: model.decode(list(ids), skip_special_tokens=False),
            {token: i for token, i in ids.items() if i is not None},
            (TOKENIZERS, Path(file).read_bytes()),
        )

    def save_pretrained(self, folder: Path) -> None:
        if self._source is None:
            raise ValueError("this tokenizer was not read from a file, so it cannot be saved")
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        name, content = self._source
        (folder / name).write_bytes(content)
        write_json(folder / SPECIAL, self.special)

    @classmethod
    def from_pretrained(cls, folder: Path) -> "Tokenizer":
        folder = Path(folder)
        special = read_json(folder / SPECIAL) if (folder / SPECIAL).exists() else None
        odd = [token for token, i in (special or {}).items() if type(i) is not int or i < 0]
        if special and odd:
            found = f"the id of {odd[0]!r:.40} is {special[odd[0]]!r:.40}"
            raise ValueError(f"{folder / SPECIAL}: {found}; expected a whole number of at least 0")
        with naming(folder):
            if (folder / SENTENCEPIECE).exists():
                if special is None:  # the file has none of our tokens, and where a model has them is not to be guessed
                    raise FileNotFoundError(f"{folder / SPECIAL} is missing; get it again")
                return cls.from_sentencepiece(folder / SENTENCEPIECE, special)
            if (folder / TOKENIZERS).exists():
                read = cls.from_tokenizers(folder / TOKENIZERS, special)  # its file may hold more visual tokens
                return read.with_visual(sum(token in special for token in VISUAL_TOKENS)) if special else read
        raise FileNotFoundError(f"no {SENTENCEPIECE} and no {TOKENIZERS} in {folder}; copy LLaMA's there")
