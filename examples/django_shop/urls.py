from django.contrib import admin
from django.urls import path

from examples.django_shop.views import order

urlpatterns = [path("admin/", admin.site.urls), path("orders", order)]
