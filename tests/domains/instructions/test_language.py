"""The language of a sentence or two, by script and common words."""

from __future__ import annotations

import pytest

from domino_lightning.domains.instructions.language import NAMES, language

SENTENCES = {
    "ar": "هذا الكتاب الذي قرأته أمس كان في المكتبة.",
    "bg": "Това е книгата, която купих вчера, и тя не е на масата.",
    "bn": "আমি আজ সকালে বাজারে গিয়েছিলাম।",
    "de": "Die Katze sitzt auf dem Dach und wartet nicht auf den Regen.",
    "el": "Η γάτα κάθεται στη στέγη.",
    "en": "The cat sits on the roof and does not wait for rain.",
    "es": "El gato está en el tejado y no espera la lluvia.",
    "fa": "این کتابی است که من دیروز از کتابخانه گرفتم.",
    "fi": "Kissa istuu katolla ja se ei odota sadetta, mutta on iloinen.",
    "fr": "Le chat est sur le toit et il n'attend pas la pluie.",
    "gu": "આજે હવામાન સારું છે.",
    "he": "החתול יושב על הגג.",
    "hi": "यह किताब है और मैं इसको घर में पढ़ता हूँ।",
    "id": "Kucing itu ada di atap dan tidak menunggu hujan.",
    "it": "Il gatto è sul tetto e non aspetta la pioggia che cade nella notte.",
    "ja": "猫は屋根の上に座っています。",
    "kn": "ಬೆಕ್ಕು ಛಾವಣಿಯ ಮೇಲೆ ಕುಳಿತಿದೆ.",
    "ko": "고양이가 지붕 위에 앉아 있습니다.",
    "ml": "പൂച്ച മേൽക്കൂരയിൽ ഇരിക്കുന്നു.",
    "mr": "हे पुस्तक आहे आणि ते माझ्या घरी नाही.",
    "ne": "यो किताब हो र म घरमा पढ्छु।",
    "nl": "De kat zit op het dak en wacht niet op de regen.",
    "pa": "ਬਿੱਲੀ ਛੱਤ ਉੱਤੇ ਬੈਠੀ ਹੈ।",
    "pl": "Kot siedzi na dachu i nie czeka na deszcz, który jest już blisko.",
    "pt": "O gato está no telhado e não espera pela chuva.",
    "ru": "Кошка сидит на крыше и не ждёт дождя.",
    "sv": "Katten sitter på taket och väntar inte på regnet.",
    "sw": "Paka yuko juu ya nyumba na mvua ya leo ni kubwa kwa watu.",
    "ta": "பூனை கூரையில் அமர்ந்திருக்கிறது.",
    "te": "పిల్లి పైకప్పు మీద కూర్చుంది.",
    "th": "แมวนั่งอยู่บนหลังคา",
    "tr": "Kedi çatıda oturuyor ve bu yağmur için değil.",
    "uk": "Кішка сидить на даху і не чекає на дощ.",
    "ur": "یہ کتاب ہے اور میں اس کو گھر میں پڑھتا ہوں۔",
    "vi": "Con mèo ngồi trên mái nhà và không chờ mưa.",
    "zh": "猫坐在屋顶上。",
}


def test_every_language_that_has_a_name_has_a_sentence() -> None:
    assert set(SENTENCES) == set(NAMES)


@pytest.mark.parametrize("code", sorted(SENTENCES))
def test_a_sentence_is_recognized(code: str) -> None:
    assert language(SENTENCES[code]) == code


@pytest.mark.parametrize("text", ["", "12, 34!", "Xylophon Quux", "🙂"])
def test_nothing_is_said_where_nothing_tells(text: str) -> None:
    assert language(text) is None
