"""Settings of conversations with people outside."""

from ubiety.settings import Setting

IDLE_SECONDS = Setting(
    "federation.im_idle_seconds",
    int,
    600,
    "seconds",
    "How long a conversation over SIP is kept open without a word; the next message opens it again.",
    minimum=30,
    maximum=86_400,
)
ANSWER_SECONDS = Setting(
    "federation.im_answer_seconds",
    int,
    180,
    "seconds",
    "How long somebody outside may take to accept a conversation before the message is returned.",
    minimum=10,
    maximum=3600,
)
FIRST_IN_INVITE = Setting(
    "federation.im_first_in_invite",
    bool,
    True,
    "",
    "Whether the first message of a conversation travels in its INVITE as well, where Microsoft clients show "
    "it before the conversation is accepted. A peer that does not say that it took it gets it again.",
)
SETTINGS = (IDLE_SECONDS, ANSWER_SECONDS, FIRST_IN_INVITE)
