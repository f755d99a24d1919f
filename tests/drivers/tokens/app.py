"""An album on Django, over mysqlclient: serves HTTP and prints its port. See ../README.md."""

import os
import sys
from wsgiref.simple_server import WSGIRequestHandler, make_server

import django
from django.conf import settings
from django.http import HttpResponse
from django.urls import path

settings.configure(
    SECRET_KEY="the same in both regions",
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    MIDDLEWARE=["read_your_writes.ReadYourWrites"],
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.mysql",
            "HOST": os.environ["DB_HOST"],
            "PORT": os.environ["DB_PORT"],
            "USER": os.environ["DB_USER"],
            "PASSWORD": os.environ["DB_PASSWORD"],
            "NAME": os.environ["DB_SCHEMA"],
        }
    },
)
django.setup()

from django.db import connection  # noqa: E402


def photos(request):
    with connection.cursor() as cursor:
        if request.method == "POST":
            cursor.execute("INSERT INTO photos (title) VALUES (%s)", [request.GET["title"]])
            return HttpResponse("added")
        cursor.execute("SELECT COUNT(*) FROM photos")
        return HttpResponse(str(cursor.fetchone()[0]))


urlpatterns = [path("photos", photos)]


class Quiet(WSGIRequestHandler):
    def log_message(self, *arguments):
        pass


if __name__ == "__main__":
    from django.core.wsgi import get_wsgi_application

    server = make_server("127.0.0.1", 0, get_wsgi_application(), handler_class=Quiet)
    print(server.server_port)
    sys.stdout.flush()
    server.serve_forever()
