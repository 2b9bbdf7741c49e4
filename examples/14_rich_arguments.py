"""Dates, decimals and model instances as arguments and results; still JSON in the database."""

from datetime import date, timedelta
from decimal import Decimal

from project import running_jobs, setup, wait_for

setup(rich_arguments=True)

from django.contrib.auth.models import Group
from django.tasks import task


@task
def invoice(customer, amount, day, due_in):
    return {"to": customer.name, "amount": amount * 2, "due": day + due_in}


customer = Group.objects.create(name="the club")
result = invoice.enqueue(
    customer, Decimal("1.10"), day=date(2030, 1, 31), due_in=timedelta(days=14)
)

gone = Group.objects.create(name="gone tomorrow")
orphan = invoice.enqueue(gone, Decimal(1), date(2030, 1, 31), timedelta())
gone.delete()

with running_jobs():
    wait_for(result, orphan)

print(result.return_value)
print(orphan.status, orphan.errors[0].exception_class_path)

# Output:
# {'to': 'the club', 'amount': Decimal('2.20'), 'due': datetime.date(2030, 2, 14)}
# FAILED dj_queue.exceptions.DeserializationError
