"""Wording: what people, shops, alt texts and tag lists say about a scene, and what says nothing."""

import numpy as np

from vl_pipeline.data.fabricated.randomness import happens, pick
from vl_pipeline.data.fabricated.scenes import Scene
from vl_pipeline.data.fabricated.settings import SETTINGS

# Other words for a class. A search for the class name as a word misses most of them.
SYNONYMS: dict[str, tuple[str, ...]] = {
    "sailboat": ("sailing boat", "yacht", "dinghy"),
    "house": ("cottage", "bungalow", "family home"),
    "tree": ("oak", "elm", "chestnut in full leaf"),
    "car": ("automobile", "hatchback", "motor vehicle"),
    "fish": ("goldfish", "trout", "carp"),
    "mushroom": ("toadstool", "fungus", "fly agaric"),
    "umbrella": ("parasol", "brolly", "rain shade"),
    "star": ("pentagram", "starburst", "five-pointed shape"),
    "key": ("latchkey", "door opener", "passkey"),
    "cup": ("mug", "beaker", "coffee mug"),
    "flower": ("blossom", "daisy", "bloom"),
    "lamp": ("floor light", "standing light", "reading light"),
    "butterfly": ("painted lady", "winged insect", "swallowtail"),
    "rocket": ("spaceship", "spacecraft", "missile"),
    "guitar": ("six-string", "bass", "string instrument"),
    "cactus": ("succulent", "saguaro", "prickly desert plant"),
    "teapot": ("tea pot", "tea urn"),
    "vase": ("urn", "amphora"),
    "bus": ("coach", "double-decker"),
    "truck": ("lorry", "delivery van"),
    "whale": ("orca", "sea mammal"),
    "tent": ("wigwam", "camping shelter"),
    "church": ("chapel", "parish building"),
    "sun": ("sunshine symbol", "solar disc"),
    "moon": ("crescent", "lunar sickle"),
    "heart": ("love symbol", "valentine"),
    "cloud": ("cumulus", "rain puff"),
    "kite": ("paper dragon", "flying diamond"),
    "balloon": ("party inflatable", "helium bubble"),
    "candle": ("taper", "tealight"),
    "bell": ("chime", "carillon piece"),
    "clock": ("timepiece", "wall watch"),
    "apple": ("pippin", "braeburn"),
    "pear": ("conference fruit", "williams fruit"),
    "ice cream": ("gelato", "sundae cone"),
    "hammer": ("mallet", "claw tool"),
    "spoon": ("ladle", "tablespoon"),
    "bicycle": ("pushbike", "two-wheeler"),
    "anchor": ("mooring iron", "mooring hook"),
    "ladder": ("stepladder", "climbing frame"),
    "flag": ("banner", "pennant"),
    "crown": ("diadem", "tiara"),
    "cat": ("kitten", "tabby"),
    "bottle": ("flask", "carafe"),
}

_SENTENCES = (
    "{a_thing} {where}",
    "there is {a_thing} {where}",
    "{a_thing} {where} {beside}",
    "{a_thing} {beside}",
    "we saw {a_thing} {where} today",
    "look at this {thing} {where}!",
    "my {adjective} {thing} {where}",
    "someone left {a_thing} {where}",
    "this is what {a_thing} looks like {where}",
    "the {thing} {where} was the best part of the trip",
    "a close-up of {a_thing} {beside}",
    "one {adjective} {thing} {where} {beside}",
    "holiday memories: {a_thing} {where}",
    "the {thing} my daughter drew",
    "nothing but {a_thing} {where}",
)
_SHOP_TITLES = (
    "{thing} print A4 unframed",
    "{adjective} {thing} sticker pack of {number}",
    "{thing} for the nursery, set of {number}",
    "{colour} {name} art print, free delivery",
    "{name} fridge magnet",
    "{name} tea towel, {adjective}",
    "greeting card with {thing}, {number} pcs",
    "{adjective} {name} poster 30x40 cm",
    "{name} cushion cover 45 cm",
    "iron-on patch {thing} no. {number}",
    "{name} jigsaw, {number}00 pieces",
)
_ALT_TEXTS = (
    "picture of {a_thing}",
    "image of {a_thing} {where}",
    "photo: {thing} {where}",
    "drawing of {a_thing}",
    "illustration of {a_thing} {beside}",
    "icon of {a_thing}",
    "{thing} clip art",
    "{name}",
    "{name}.jpg",
    "{name}-{colour}-{number}",
    "thumbnail showing {a_thing}",
    "{a_thing}, detail",
    "Figure {number}: {thing} {where}",
    "cartoon {name}",
)
_TAGS = (
    "{name}, {colour}, {adjective}",
    "#{name} #{adjective} #picoftheday",
    "{name} clipart vector",
    "{name} | {colour} | {setting}",
    "{setting} {name} {adjective} picture {number}",
    "tags: {colour}, {name}, {setting}",
)
_DETAILED = (
    "{a_thing} {where} {beside}",
    "a picture of {a_thing} {where} {beside}",
    "there is {a_thing} {where} {beside}",
    "the {thing} {where} {beside}",
    "one {thing} {where} {beside} and nothing else",
    "we can see {a_thing} {beside} {where}",
)
_ADJECTIVES = (
    "lovely", "vintage", "handmade", "little", "cute", "simple", "modern", "retro", "cheerful",
    "rustic", "minimalist", "wonderful", "crooked",
)  # fmt: skip
_DECORATIONS = (
    "{} | the picture corner", "{} - buy now", "NEW! {}", "{} (3 of 12)", "{} - free shipping",
    "Best {} ideas", "{} by studio north", "{} HD", "Re: {}", ">> {}",
)  # fmt: skip
_BOILERPLATE = (
    "click to enlarge", "IMG_{}.JPG", "stock photo free download", "image", "DSC0{}", "logo",
    "photo {}", "untitled-{}", "zoom", "no description available", "share this page",
    "loading please wait", "advertisement", "thumbnail {}", "see more like this", "screenshot {}",
    "photo by a member", "view full size", "placeholder.png", "subscribe to our newsletter",
)  # fmt: skip


def caption_scene(scene: Scene, rng: np.random.Generator) -> str:
    """Something that someone could have written about the scene; it always names the class.

    A third of the captions call the class by another word, a third mention a detail such as the
    colour, and a tenth carry a site's decoration.
    """
    kind = pick(rng, (_SENTENCES, _SENTENCES, _SHOP_TITLES, _ALT_TEXTS, _ALT_TEXTS, _TAGS))
    caption = _fill(pick(rng, kind), scene, rng, detail_probability=0.35)
    if kind is _SHOP_TITLES and happens(rng, 0.6):
        caption = caption.title()
    elif happens(rng, 0.3):
        caption = caption[0].upper() + caption[1:]
    return decorate(caption, rng) if happens(rng, 0.1) else caption


def describe_scene(scene: Scene, rng: np.random.Generator) -> str:
    """A sentence that mentions the colour, the setting and the companion, where there are any."""
    return _fill(pick(rng, _DETAILED), scene, rng, detail_probability=1.0)


def boilerplate(rng: np.random.Generator) -> str:
    """A caption that fits any picture and describes none."""
    return pick(rng, _BOILERPLATE).format(int(rng.integers(1000, 9999)))


def decorate(caption: str, rng: np.random.Generator) -> str:
    """The caption as another page would repeat it."""
    return pick(rng, _DECORATIONS).format(caption)


def _fill(
    template: str, scene: Scene, rng: np.random.Generator, *, detail_probability: float
) -> str:
    name = _name(scene.class_name, rng)
    style = {"outline": "a line drawing of ", "silhouette": "a silhouette of "}.get(scene.style, "")
    thing = f"{scene.colour} {name}" if happens(rng, detail_probability) else name
    phrases = SETTINGS[scene.setting].phrases if happens(rng, detail_probability) else ()
    slots = {
        "name": name,
        "thing": thing,
        "a_thing": style + _with_article(thing),
        "colour": scene.colour,
        "setting": scene.setting,
        "where": pick(rng, phrases) if phrases else "",
        "beside": f"with {_with_article(scene.companion)}" if scene.companion else "",
        "adjective": pick(rng, _ADJECTIVES),
        "number": int(rng.integers(2, 60)),
    }
    return " ".join(template.format_map(slots).split())


def _name(class_name: str, rng: np.random.Generator) -> str:
    return pick(rng, SYNONYMS[class_name]) if happens(rng, 1 / 3) else class_name


def _with_article(noun: str) -> str:
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"
