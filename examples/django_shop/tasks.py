from beanrow import Retry
from beanrow.contrib.django import app
from examples.django_shop.models import Order


@app.task(tube="order-mails", retry=Retry(5, delay=10))
def confirm(order_id: int) -> None:
    order = Order.objects.get(pk=order_id)
    print(f"mail to {order.email}", flush=True)
    order.confirmed = True
    order.save()
