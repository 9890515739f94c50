"""What the simulated people say: moods for their presence, answers to what they are asked."""

import re
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mood:
    """A presence to show: `show` as in RFC 6121 §4.7.2.1 ("" = available) and a status text."""

    show: str
    status: str
    weight: int


MOODS = (
    Mood("", "", 10),
    Mood("", "In the office", 6),
    Mood("", "At my desk until five", 2),
    Mood("", "Working from home", 4),
    Mood("chat", "Free for questions", 1),
    Mood("chat", "Coffee, anyone?", 1),
    Mood("away", "", 2),
    Mood("away", "At lunch", 2),
    Mood("away", "Back in ten minutes", 2),
    Mood("dnd", "In a meeting", 3),
    Mood("dnd", "On a call with a customer", 2),
    Mood("dnd", "Finishing a report, please write", 1),
    Mood("xa", "On the train", 1),
    Mood("xa", "On the shop floor", 1),
)


@dataclass(frozen=True, slots=True)
class Rule:
    """Answers for a message in which the pattern is found; the first rule that fits is used."""

    pattern: re.Pattern[str]
    answers: tuple[str, ...]


def _rule(pattern: str, *answers: str) -> Rule:
    return Rule(re.compile(pattern, re.IGNORECASE), answers)


RULES = (
    _rule(
        r"\b(are you (a )?(real|human|robot|bot|machine)|simulat)",
        "I am one of the simulated people of {firm}. Log in as somebody else to talk with a real one!",
        "No, I am a small program in this sample installation. I do enjoy the chats, though.",
    ),
    _rule(
        r"\b(who are you|your (job|role|title|name)|what do you do)\b",
        "{name}, {title}.",
        "I am {given}, {title}. You find me in {department}.",
    ),
    _rule(r"\b(phone|call|number|ring)\b", "Sure, my number is {phone}.", "Ring me: {phone}."),
    _rule(r"\b(mail|e-mail|address)\b", "Send it to {mail}, please.", "My mail is {mail}."),
    _rule(
        r"^\W*(hi|hello|hey|good (morning|afternoon|evening|day)|morning|moin|ciao|hallo|salut|hola)\b",
        "Hi! How can I help?",
        "Hello! What's up?",
        "Hey, good to hear from you.",
        "Good day! {given} here.",
    ),
    _rule(
        r"\b(thanks|thank you|thx|cheers|merci|danke)\b", "You're welcome!", "Any time.", "Glad to help :)"
    ),
    _rule(r"\b(bye|see you|later|goodbye|ciao)\b", "See you!", "Bye, take care.", "Talk to you later."),
    _rule(
        r"\b(lunch|coffee|canteen|eat|hungry)\b",
        "Half past twelve in the canteen?",
        "Oh yes. Give me ten minutes.",
        "I have just eaten, but a coffee is always possible.",
    ),
    _rule(
        r"\b(meeting|meet|appointment|schedule|calendar)\b",
        "I am free after three. Does that suit you?",
        "Let's say tomorrow at ten?",
        "I have one running until the hour, then I'm yours.",
    ),
    _rule(
        r"\b(barometer|sensor|calibrat|weather|pressure|gauge)",
        "The new pressure cell holds 0.1 hPa now. We are rather proud of it.",
        "Ask calibration, they have the figures of the last batch.",
        "High pressure all week, in the lab and outside.",
    ),
    _rule(
        r"\bhow are you\b|\bhow is it going\b|\bhow's it going\b", "Fine, thanks! And you?", "Busy, but well."
    ),
    _rule(
        r"\b(where)\b",
        "In {department}, second floor.",
        "At my desk. Come over if you like.",
    ),
    _rule(r"\b(when|what time)\b", "This afternoon, I think.", "Tomorrow morning at the latest."),
    _rule(r"\b(why)\b", "Good question. It was like that when I came here.", "Long story, let's talk later."),
    _rule(
        r"\?\s*$",
        "Let me check and come back to you.",
        "I think so, yes.",
        "Not that I know of.",
        "Hm, I would ask somebody in {department} who has been here longer.",
        "Probably. I'll find out.",
    ),
)

ANSWERS = (
    "All right.",
    "OK, noted.",
    "Sounds good to me.",
    "I see. Thanks for telling me.",
    "Interesting! Tell me more.",
    "Got it.",
    "Let me think about that.",
    "Makes sense.",
    "I'll take care of it.",
    "Fine with me :)",
)

BUSY = ("dnd", "xa")
BUSY_OPENINGS = ("Can't talk long, but: ", "In between two things: ", "Quickly: ")


def find_answers(text: str) -> tuple[str, ...]:
    """Return the answers that fit a message, as templates; there is always at least one."""
    for rule in RULES:
        if rule.pattern.search(text):
            return rule.answers
    return ANSWERS


def choose_answer(text: str, choose: Callable[[tuple[str, ...]], str], previous: str) -> str:
    """Choose one of the templates that fit, and not the previous one where there is another."""
    fitting = find_answers(text)
    return choose(tuple(answer for answer in fitting if answer != previous) or fitting)
