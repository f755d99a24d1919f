from django.db import connection

COOKIE = "isthmus_after"


class ReadYourWrites:
    """Lets a request see what the same person's last one has written, in whatever region."""

    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        token = request.get_signed_cookie(COOKIE, default="", max_age=60)
        if token:
            with connection.cursor() as cursor:
                cursor.execute("SET @isthmus_after = %s", [token])
        response = self.get_response(request)
        if request.method not in ("GET", "HEAD", "OPTIONS"):
            with connection.cursor() as cursor:
                cursor.execute("SELECT @isthmus_token")
                response.set_signed_cookie(COOKIE, cursor.fetchone()[0], max_age=60, httponly=True)
        return response
