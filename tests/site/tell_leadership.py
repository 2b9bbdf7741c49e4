"""`manage.py dj_queue` that also prints when its dispatcher gains and loses the leadership."""

import django
from django.core.management import call_command


def main() -> None:
    django.setup()

    from dj_queue import events

    def gained(event: events.LeadershipGained) -> None:
        if event.role == "dispatcher":
            print(f"gained term {event.term}.")

    def lost(event: events.LeadershipLost) -> None:
        if event.role == "dispatcher":
            print(f"lost term {event.term}: {event.reason}.")

    events.subscribe(events.LeadershipGained, gained)
    events.subscribe(events.LeadershipLost, lost)
    call_command("dj_queue")


if __name__ == "__main__":
    main()
