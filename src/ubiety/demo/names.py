"""The words the sample organisation is made of. All people and the firm are invented."""

from dataclasses import dataclass

FIRM = "Quillmere Instruments"
"""The invented firm: makers of barometers, and of what else a weather station needs."""


@dataclass(frozen=True, slots=True)
class Department:
    """A department: its name, its head's title, what the others are called, and how many they are."""

    name: str
    head: str
    titles: tuple[str, ...]
    size: int


DEPARTMENTS = (
    Department("Management", "Managing Director", ("Executive Assistant", "Head of Strategy"), 5),
    Department(
        "Engineering",
        "Head of Engineering",
        ("Software Engineer", "Sensor Engineer", "Test Engineer", "Mechanical Designer", "Firmware Engineer"),
        40,
    ),
    Department("Sales", "Sales Director", ("Account Manager", "Sales Engineer", "Inside Sales"), 35),
    Department(
        "Support", "Head of Support", ("Support Engineer", "Field Technician", "Support Coordinator"), 30
    ),
    Department(
        "Production", "Head of Production", ("Assembler", "Calibration Technician", "Shift Leader"), 30
    ),
    Department("Logistics", "Head of Logistics", ("Warehouse Clerk", "Dispatcher", "Buyer"), 15),
    Department("IT", "Head of IT", ("Systems Administrator", "Help Desk", "Network Engineer"), 15),
    Department("Finance", "Finance Director", ("Accountant", "Controller", "Payroll Clerk"), 10),
    Department("Human Resources", "Head of Human Resources", ("Recruiter", "HR Partner"), 10),
    Department("Marketing", "Head of Marketing", ("Copywriter", "Event Manager", "Web Designer"), 10),
)

_GIVEN_NAMES = """
Anna Ben Carla Dario Elif Felix Greta Hamid Irene Jonas Kerstin Luca Mira Nils Olga Pavel Quentin Rosa
Sven Tara Umar Vera Wim Xenia Yusuf Zoë Amir Birgit Cem Dana Emil Freya Goran Hanna Ivan Julia Karim
Lena Milan Nora Oskar Petra Rafael Selma Tomás Ulla Viktor Wanda Yara Zeno Agnes Bruno Chiara David
Esther Farid Gina Hugo Inés Jakob Katja Leon Maja Nadia Otto Paula Ravi Sofia Theo Ursula Vasco Wilma
Yann Zara Adam Bianca Colin Delia Erik Flora Georg Hilda Ilias Jana Kai Lucía Marek Nina Owen Priya
Rufus Saskia Tariq Una Vito Willem Yvonne Zita Søren Łucja
"""
GIVEN_NAMES = tuple(_GIVEN_NAMES.split())

_SURNAMES = """
Adler Bakker Castell Dahlmann Ebner Farrow Grünwald Halvorsen Ibarra Jansky Kestrel Lindqvist Marlowe
Novak Okafor Petrov Quist Rahimi Sandoval Tamura Ulrich Vasile Weller Yildiz Zanetti Alder Brandt Cole
Demir Eklund Fontana Garside Hollis Ivers Jorgen Kaplan Larkin Moreau Nyberg Osei Pryce Rask Sorrel
Thorne Udall Varga Whitlock Yates Ziegler Amsel Birch Corvin Drake Elster Finch Grebe Heron Iwata
Jewell Knot Lark Merlin Nadir Oriole Plover Quail Redmond Starling Teal Underhill Verdin Wren Young
Zeller Ashby Bellamy Carver Dorn Everett Foss Gale Hale Ingram Joyce Kerr Lowell Mistral Norrby
Oakes Perrin Raine Stratus Thaw Vane Winters Zephyr Aurel Breeze Cirrus Drift
"""
SURNAMES = tuple(_SURNAMES.split())

_PASSWORD_WORDS = """
acorn amber anchor apple april arrow autumn badge bamboo banjo basil beach berry birch bloom board
bottle branch brass bread bridge brook brush bucket butter cabin camel candle canoe canvas carbon
carpet castle cedar cello chalk cherry circle clay cliff cloud clover coast cobalt cocoa comet copper
coral corner cotton crane crayon cream cricket crown curtain daisy delta desert diver dolphin dragon
eagle echo ember falcon feather fern fiddle field flame flint forest fossil garden ginger glacier globe
grain granite grape harbour hazel hedge helmet honey island ivory jacket jasmine jungle kettle ladder
lagoon lantern laurel lemon lilac linen lobster magnet mango maple marble meadow melon mirror mosaic
mountain nectar needle nettle ocean olive onion orchid otter paddle panda paper pearl pebble pepper
planet plum polar poppy prairie pumpkin quartz rabbit raven ribbon river rocket saddle saffron salmon
sandal silver sparrow spruce summer tiger timber tulip tunnel turtle umber valley velvet violet walnut
water willow window winter
"""
PASSWORD_WORDS = tuple(_PASSWORD_WORDS.split())
