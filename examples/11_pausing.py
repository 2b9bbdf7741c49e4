"""Stop a queue without stopping anything else, look at it, and let it go on."""

from project import running_jobs, setup, wait_for

setup()

from django.tasks import task

from dj_queue.api import QueueInfo, get_queue_depths


@task
def send(address):
    return f"sent to {address}"


mail = QueueInfo("mail")
mail.pause()

with running_jobs():
    held_up = send.using(queue_name="mail").enqueue("a@example.org")
    other = send.enqueue("b@example.org")
    wait_for(other)
    held_up.refresh()
    print("other queues go on:", other.return_value)
    print("mail:", held_up.status, "paused:", mail.paused, "size:", mail.size)
    print("depths:", get_queue_depths())

    mail.resume()
    wait_for(held_up)
    print("mail:", held_up.return_value)

mail.pause()
for number in range(3):
    send.using(queue_name="mail").enqueue(f"{number}@example.org")
print("cleared:", mail.clear(), "left:", mail.size)

# Output:
# other queues go on: sent to b@example.org
# mail: READY paused: True size: 1
# depths: {'mail': 1}
# mail: sent to a@example.org
# cleared: 3 left: 0
