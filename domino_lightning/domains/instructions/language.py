"""The language of a text, by its script and its commonest words.

It tells apart the languages that IFEval asks for, and a few more, in texts of a sentence or longer. Limits: a text
without any of the common words (a name, a number, a list of nouns) has no language here; closely related languages are
told by a few words and letters only; a text in two languages is that with more common words.
"""

from __future__ import annotations

import re
from collections import Counter

NAMES = {
    "ar": "Arabic", "bg": "Bulgarian", "bn": "Bengali", "de": "German", "el": "Greek", "en": "English",
    "es": "Spanish", "fa": "Persian", "fi": "Finnish", "fr": "French", "gu": "Gujarati", "he": "Hebrew",
    "hi": "Hindi", "id": "Indonesian", "it": "Italian", "ja": "Japanese", "kn": "Kannada", "ko": "Korean",
    "ml": "Malayalam", "mr": "Marathi", "ne": "Nepali", "nl": "Dutch", "pa": "Punjabi", "pl": "Polish",
    "pt": "Portuguese", "ru": "Russian", "sv": "Swedish", "sw": "Swahili", "ta": "Tamil", "te": "Telugu",
    "th": "Thai", "tr": "Turkish", "uk": "Ukrainian", "ur": "Urdu", "vi": "Vietnamese", "zh": "Chinese",
}  # fmt: skip

# First and last code point of a block, and the language, or the script where several languages share it.
_BLOCKS = (
    (0x0370, 0x03FF, "el"), (0x0400, 0x052F, "Cyrillic"), (0x0590, 0x05FF, "he"), (0x0600, 0x06FF, "Arabic"),
    (0x0900, 0x097F, "Devanagari"), (0x0980, 0x09FF, "bn"), (0x0A00, 0x0A7F, "pa"), (0x0A80, 0x0AFF, "gu"),
    (0x0B80, 0x0BFF, "ta"), (0x0C00, 0x0C7F, "te"), (0x0C80, 0x0CFF, "kn"), (0x0D00, 0x0D7F, "ml"),
    (0x0E00, 0x0E7F, "th"), (0x3040, 0x30FF, "ja"), (0x4E00, 0x9FFF, "Han"), (0xAC00, 0xD7AF, "ko"),
)  # fmt: skip
_SHARED = {"Cyrillic": ("ru", "uk", "bg"), "Arabic": ("ar", "fa", "ur"), "Devanagari": ("hi", "mr", "ne")}
_LATIN = ("en", "de", "fr", "es", "it", "pt", "nl", "pl", "sv", "fi", "id", "sw", "tr", "vi")

_COMMON = {
    "en": "the of and to a in is it you that was for on are with as his they be at this have from or had by not but "
    "what all were we when your can there an which their will if how its our my he she would has who",
    "de": "der die und in den von zu das mit sich des auf für ist im dem nicht ein eine als auch es an werden aus er "
    "hat dass sie nach wird bei einer um am sind noch wie einem über einen so zum war haben nur oder aber vor ich wir",
    "fr": "de la le et les des en un du une que est pour qui dans a par plus pas au sur ne se ce il sont avec son "
    "cette mais ou nous vous je elle leur aux comme être d l c qu n s j",
    "es": "de la que el en y a los del se las por un para con no una su al lo como más pero sus le ya o este sí "
    "porque esta entre cuando muy sin sobre también me hasta hay donde es son está",
    "it": "di e il la che in a per un è del non una i le con si da della sono come dei nel alla anche più ma lo gli "
    "ha al delle ci questo o se io mi tu l nella",
    "pt": "de a o que e do da em um para é com não uma os no se na por mais as dos como mas foi ao ele das tem à seu "
    "sua ou ser quando muito há nos já está eu também só pelo pela até isso são",
    "nl": "de het een en van ik te dat die in je is niet op zijn met voor er aan maar om hij ook als dan naar bij nog "
    "of uit was worden wordt hebben deze we",
    "pl": "i w na z do się nie to że jest o jak a po co ale od za tak przez już jego dla są czy tylko ich przy był "
    "które który może być oraz jej ten tym",
    "sv": "och i att det som en på är av för med till den har de inte om ett men var jag sig från vi så kan när han "
    "hon också nu ska eller vid",
    "fi": "ja on ei se että en oli hän mutta ovat kun niin tai jos myös kuin ole mitä minä sinä joka tämä mikä vain "
    "voi sen hänen ollut sekä olen",
    "id": "yang dan di itu dengan untuk tidak ini dari dalam akan pada juga saya ke karena ada bisa oleh mereka kita "
    "anda atau sebagai adalah dapat kami seperti lebih",
    "sw": "na ya wa kwa ni katika la za kuwa cha kama hii yake hiyo ili sana lakini watu pia au vya wakati huo kila "
    "yangu hivyo wake mimi wao",
    "tr": "ve bir bu da de için ile çok ne gibi daha olarak var ama en o ben mi sonra kadar her olan olduğu değil "
    "şey ya ki diye",
    "vi": "và của là có trong được cho không các một những với người này để khi đã về từ như đến ra cũng nhiều tôi ở "
    "bạn rất sẽ vào thì",
    "ru": "и в не на что я с он как это по но они мы из у за от же вы так все бы для когда уже или если его её есть "
    "был была быть",
    "uk": "і в не на що я з він як це по але вони ми із у за від ж ви так все для коли вже або якщо його її є був та "
    "й до цей",
    "bg": "и на да се за е от в не са че с по като това той ще но си до които към през беше или един една във със "
    "има може",
    "ar": "في من على إلى أن هذا هذه التي الذي كان عن مع لا ما هو هي و أو قد كل بين ثم لم بعد",
    "fa": "و در به از که این را با است برای آن یک خود تا بر هم نیز شد می ها بود اما ما من او",
    "ur": "کے میں کی ہے اور سے کا کو پر نے یہ کہ ہیں اس ایک تھا بھی نہیں وہ ہم آپ گیا تو جو",
    "hi": "के में की है और से का को पर ने यह कि हैं इस एक था भी नहीं वह हम आप तो जो लिए",
    "mr": "आहे आणि च्या या ते हे आहेत नाही होते तो ती मी तर पण का केला साठी एक असे त्या",
    "ne": "छ को र मा छन् हो गर्न यो पनि भने लागि गरेको का एक थियो हुन्छ तर मैले हामी",
}  # fmt: skip
_WORDS = {code: frozenset(text.split()) for code, text in _COMMON.items()}
_OWN_LETTERS = {
    "uk": "іїєґ", "bg": "", "ru": "ыэё", "ur": "ٹڈںےھہ", "fa": "پچژگ",
    "vi": "ăđơưạảấầẩẫậắằẳẵặẹẻẽếềểễệỉịọỏốồổỗộớờởỡợụủứừửữựỳỵỷỹ",
    "pl": "ąęłńśźż", "tr": "ğış", "de": "ß", "es": "ñ¿¡", "pt": "ãõ",
}  # fmt: skip
_MIN_SHARE = 0.08  # of the words that must be common ones, or the letters its own


def language(text: str) -> str | None:
    """The ISO 639-1 code of a text's language; None where nothing tells."""
    scripts = Counter(_script(character) for character in text if character.isalpha())
    scripts.pop("", None)
    if not scripts:
        return None
    if scripts["ja"] and scripts["ja"] + scripts["Han"] > sum(scripts.values()) / 2:
        return "ja"
    script, _ = scripts.most_common(1)[0]
    if script == "Han":
        return "zh"
    if script in NAMES:
        return script
    return _commonest(text.casefold(), _SHARED.get(script, _LATIN))


def _script(character: str) -> str:
    code = ord(character)
    if code < 0x0250 or 0x1E00 <= code < 0x1F00:
        return "Latin"
    return next((name for first, last, name in _BLOCKS if first <= code <= last), "")


def _commonest(text: str, codes: tuple[str, ...]) -> str | None:
    found = re.findall(r"[^\W\d_]+(?:[\u0300-\u036f\u0900-\u097f]+[^\W\d_]*)*", text)
    scores = {
        code: sum(word in _WORDS[code] for word in found) / len(found)
        + sum(text.count(letter) for letter in _OWN_LETTERS.get(code, "")) / len(text)
        for code in codes
    }
    best = max(codes, key=lambda code: scores[code])
    return best if scores[best] >= _MIN_SHARE else None
