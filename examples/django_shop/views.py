from django.db import transaction
from django.http import HttpRequest, HttpResponse

from beanrow.contrib.django import put_on_commit
from examples.django_shop.models import Order
from examples.django_shop.tasks import confirm


@transaction.atomic
def order(request: HttpRequest) -> HttpResponse:
    new = Order.objects.create(email=request.POST["email"])
    put_on_commit(confirm, new.pk)  # the worker must not look for it before it is there
    if "@" not in new.email:
        raise ValueError(new.email)  # rolled back, and nothing is put
    return HttpResponse(f"order {new.pk}", status=201)
