"""The tables of the shop's database."""

from django.db import models


class Order(models.Model):
    """Something that a customer bought."""

    customer = models.CharField(max_length=100)
    month = models.CharField(max_length=7)
    cents = models.PositiveIntegerField()
    is_confirmed = models.BooleanField(default=False)


class Bill(models.Model):
    """A month's total of all customers; `run` is the id of the run that computes it, empty before it is started."""

    month = models.CharField(max_length=7, unique=True)
    run = models.CharField(max_length=32, blank=True)
    total = models.PositiveIntegerField(null=True)
