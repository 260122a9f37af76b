"""HTTP/1.1 for what is steered or asked over it: a small server that rooms mount routes on, and a client.

h11 reads and writes the messages; this room adds what a server that faces strangers needs: limits on heads,
bodies, time and connections, guards that decide before a body is read, and answers in JSON.

How to mount:

    routes = Routes(headers={"Connection": "close"}, guard=OwnHosts())
    routes.add("GET", "/ready", lambda request: text_response("ok"))
    routes.add("POST", "/api/things", add_thing, max_body=4096, guard=BearerToken(token))
    server = HttpServer([routes, other_routes], clock)     # the first group that has the path answers
    port = await server.listen("127.0.0.1", 8088)          # or listen_socket(a bound unix or tcp socket)
    ...
    await server.close()

A route's function takes a `Request` and returns a `Response`, at once or as an awaitable. A `Response` whose
body is an async iterator is streamed as it comes, which serves server-sent events; the iterator is closed
when the other end goes. A `VigilnetError` becomes a JSON error, any other exception is logged and becomes
a 500.

It does not do: TLS, compression, WebSockets, form bodies, ranges, HTTP/2.
"""
