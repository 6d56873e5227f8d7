"""The URLs of the shop."""

from django.urls import path

from billing import views

urlpatterns = [
    path("orders", views.order),
    path("bills/<str:month>", views.bill),
]
