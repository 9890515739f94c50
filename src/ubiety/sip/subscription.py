"""Subscriptions and notifications (RFC 6665), both halves: `Notifier` shows, `Subscriber` watches."""

from ubiety.sip.notifier import Ended as Ended
from ubiety.sip.notifier import Notifier as Notifier
from ubiety.sip.notifier import NotifierOutput as NotifierOutput
from ubiety.sip.notifier import Notify as Notify
from ubiety.sip.subscriber import Granted as Granted
from ubiety.sip.subscriber import Lost as Lost
from ubiety.sip.subscriber import Over as Over
from ubiety.sip.subscriber import Subscribe as Subscribe
from ubiety.sip.subscriber import Subscriber as Subscriber
from ubiety.sip.subscriber import SubscriberOutput as SubscriberOutput
from ubiety.sip.subscriber import Waiting as Waiting
from ubiety.sip.subscription_state import State as State
from ubiety.sip.subscription_state import SubscriptionState as SubscriptionState
from ubiety.sip.subscription_state import parse_state as parse_state
