"""The tasks that the examples of docs/testing.md are about."""

from datetime import timedelta

from django.tasks import task

from dj_queue.api import enqueue_on_commit

sent = []


@task
def send_receipt(customer, book):
    sent.append(customer)
    return f"receipt for {book}"


@task
def cancel_unpaid(customer):
    sent.append(f"cancelled: {customer}")


def place_order(customer, book, on_commit=False):
    cancel_unpaid.using(run_after=timedelta(days=1)).enqueue(customer)
    if on_commit:
        enqueue_on_commit(send_receipt, customer, book=book)
    elif customer:
        send_receipt.enqueue(customer, book=book)
