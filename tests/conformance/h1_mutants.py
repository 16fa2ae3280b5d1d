"""Conversations made up by a seeded generator for the differential in `h1`: ordinary requests with one to three things
wrong in their framing, and an ordinary request behind them.

Each conversation is told by its seed: `mutant 17` is the same bytes on every machine.
"""
import random
import re

LAST = b"GET /last HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
SECRET = b"GET /secret HTTP/1.1\r\nHost: x\r\n\r\n"

LENGTHS = [b"5", b"05", b"+5", b"-5", b"5 ", b"5\t", b" 5", b"5,5", b"5, 5", b"5,6", b"0x5", b"5.0", b"5e0", b"", b" ", b"5 5", b"0",
           b"00", b"6", b"4", b"33", b"5;", b"'5'", b"5\x0b", b"5\x00", b"\xa05", b"4294967301", b"18446744073709551621"]
CODINGS = [b"chunked", b"Chunked", b"CHUNKED", b"chunked ", b"\tchunked", b"chunked, chunked", b"identity", b"identity, chunked",
           b"chunked, identity", b"gzip, chunked", b"chunked;a=b", b"x-chunked", b"chunked\x0b", b"\x0bchunked", b"chunkedx", b"", b",",
           b", chunked", b"chunked,", b"'chunked'", b"\"chunked\"", b"chun\x00ked", b"chunked\x80", b"cow"]
NAMES = [b"Content-Length", b"content-length", b"CONTENT-LENGTH", b"Content-Length ", b"Content-Length\t", b" Content-Length", b"\tContent-Length",
         b"Content_Length", b"Content-Length\x00", b"Content-\rLength", b"Content-Length\x0b", b"Content Length", b"Content-Length:", b"\x80Content-Length"]
TE_NAMES = [b"Transfer-Encoding", b"transfer-encoding", b"Transfer-Encoding ", b"Transfer-Encoding\t", b" Transfer-Encoding",
            b"Transfer_Encoding", b"Transfer-Encoding\x00", b"X: y\nTransfer-Encoding", b"X: y\rTransfer-Encoding"]
SEPARATORS = [b": ", b":", b":\t", b":  ", b" : ", b":\r\n ", b":\n", b":\r", b"=", b";"]
SIZES = [b"5", b"05", b"0005", b"0x5", b" 5", b"5 ", b"5\t", b"+5", b"-5", b"5;a", b"5;a=b", b"5 ;a=b", b"5;a=\"x\r\n\"", b"5;a=\"\n\"", b"5;\r",
         b"5;\n", b"5\n", b"5\r", b"5,", b"5h", b"", b"ffffffffffffffff5", b"100000005", b"5;a=\x00", b"5\x00", b"G", b"4", b"6", b"A"]
DATA_ENDS = [b"\r\n", b"\n", b"\r", b"", b"\r\r\n", b" \r\n", b"x\r\n", b"\r\n\r\n"]
LAST_CHUNKS = [b"0\r\n\r\n", b"0\r\n", b"00\r\n\r\n", b"0;a\r\n\r\n", b"0\n\n", b"0\r\n\n", b"0\r\nX: y\r\n\r\n", b"0\r\nX: y\n\r\n", b"0\r\n y\r\n\r\n",
               b"0\r\nContent-Length: 9\r\n\r\n", b"0\r\nX : y\r\n\r\n", b"0\r\nnocolon\r\n\r\n", b"0\r\n: y\r\n\r\n", b"0\r\nX: y\r\n z\r\n\r\n", b" 0\r\n\r\n", b"-0\r\n\r\n"]
TARGETS = [b"/pub/h1", b"http://x/pub/h1", b"HTTP://x/pub/h1", b"http://y/pub/h1", b"//x/pub/h1", b"/pub/h1#f", b"/pub/h1?a b", b"*", b"x:80", b"pub/h1",
           b"/pub/\x80", b"/pub/h1\t", b"http://x:80/pub/h1", b"http://x", b"/pub/h1?\x00", b"http://u@x/pub/h1"]
VERSIONS = [b"HTTP/1.1", b"HTTP/1.0", b"HTTP/1.2", b"HTTP/2.0", b"HTTP/0.9", b"http/1.1", b"HTTP/1.1 ", b" HTTP/1.1", b"HTTP/01.1", b"HTTP/1.10", b"HTTP/1", b""]
HOSTS = [[b"Host: x"], [], [b"Host: x", b"Host: x"], [b"Host: x", b"Host: y"], [b"Host:"], [b"Host : x"], [b" Host: x"], [b"Host: x y"], [b"Host: x,y"]]
OTHERS = [b"X: y", b"X: y\r\n z", b"X:\r\n\tz", b"X: a\rb", b"X: a\nb", b"X: a\x00b", b"X", b": y", b"X y: z", b"X\x00: y", b"Connection: close", b"Connection: keep-alive, close",
          b"Connection: keep-alive", b"Expect: 100-continue", b"Content-Type: text/plain", b"X: " + b"y" * 2000, b"\x80: y", b"X: \x80", b"Connection: content-length",
          b"Connection: transfer-encoding", b"Upgrade: h2c", b"TE: chunked", b"Trailer: X"]
ODD = [b"\r", b"\n", b"\t", b" ", b":", b"\x00", b"\x80", b"\r\n", b";", b",", b"\x0b", b"\x7f"]


def conversation(seed):
    """The bytes of one client."""
    r = random.Random(seed)
    often = lambda usual, others, chance: r.choice(others) if r.random() < chance else usual
    wrong = r.choice([0.04, 0.1, 0.25])
    method = r.choice([b"POST", b"POST", b"POST", b"PUT", b"GET"])
    line = method + often(b" ", [b"  ", b"\t", b"\x0b"], wrong / 4) + often(b"/pub/h1", TARGETS, wrong) + b" " + often(b"HTTP/1.1", VERSIONS, wrong / 2)
    headers = list(often([b"Host: x"], HOSTS, wrong))
    framing = r.choice(["length", "length", "chunked", "chunked", "both", "none", "twice"])
    separator = lambda: often(b": ", SEPARATORS, wrong)
    length = lambda: often(b"Content-Length", NAMES, wrong) + separator() + often(b"5", LENGTHS, max(wrong, 0.3 if framing == "twice" else 0))
    coding = lambda: often(b"Transfer-Encoding", TE_NAMES, wrong) + separator() + often(b"chunked", CODINGS, wrong * 2)
    more = {"length": [length], "chunked": [coding], "both": [length, coding], "none": [], "twice": [r.choice([length, coding])] * 2}[framing]
    headers += [make() for make in more]
    headers += [r.choice(OTHERS) for _ in range(r.choice([0, 0, 1, 1, 2]))]
    r.shuffle(headers)
    end = lambda: often(b"\r\n", [b"\n", b"\r", b"\r\r\n", b"\n\r\n", b" \r\n"], wrong / 6)
    head = line + end() + b"".join(header + end() for header in headers) + end()
    chunked = framing in ("chunked", "both") or (framing == "twice" and b"ransfer" in head)
    body = b""
    if chunked:
        for data in [b"hello"] * r.choice([0, 1, 1, 2]):
            body += often(b"5", SIZES, wrong * 2) + b"\r\n" + data + often(b"\r\n", DATA_ENDS, wrong)
        body += often(b"0\r\n\r\n", LAST_CHUNKS, wrong * 2)
    elif framing != "none":
        body = r.choice([b"hello", b"hello", b"0\r\n\r\n", b"hell"])
    sent = head + body
    if r.random() < wrong * 2:
        at = r.randrange(len(line), len(sent))
        sent = r.choice([sent[:at] + r.choice(ODD) + sent[at:], sent[:at] + sent[at + 1:], sent[:at] + r.choice(ODD) + sent[at + 1:]])
    if r.random() < 0.3:
        sent = sent + SECRET
    return sent + LAST


def mutants(count, first=0):
    """So many conversations with their names."""
    return [(f"mutant {seed}", conversation(seed)) for seed in range(first, first + count)]


# Why another reader may refuse what fanwire accepts: a pattern in the bytes, in whose answers, and the reason. Each was
# looked at; whoever refuses reads no request behind it, so nothing can be hidden from the other.
EXPLAINED = [
    (rb"(?i)Host:[ \t]*\r\n", "nginx", "an empty Host is what a client sends for a target without authority (RFC 9112, 3.2)"),
    (rb"(?i)Host:[ \t]*:", "nginx", "so is an empty name with a port; no route looks at Host"),
    (rb":[ \t]*\t|\t\r\n", "nginx", "white space around a value may be a tab (RFC 9110, 5.5)"),
    (rb"\t\r\n", "node", "white space around a value may be a tab (RFC 9110, 5.5)"),
    (rb"[a-z](GET|POST|PUT) ", "nginx", "a method is any token (RFC 9110, 9.1), and nginx takes no lower-case letters"),
    (rb"(?i)Connection:[^\r]*close[^\r]*\r\n(?s:.*)Connection: keep-alive", "nginx",
     "close in any Connection field closes (RFC 9112, 9.6); nginx looks at the last one"),
    (rb"0\r\nContent-Length: 9\r\n\r\n", "node", "a length among the trailers says nothing (RFC 9110, 6.5.1)"),
]
# The same by what the third reader says is wrong.
SAID = {
    "HPE_INVALID_METHOD": "a method is any token (RFC 9110, 9.1); framing does not depend on it",
}


def explained(peer, sent, said):
    """The reason for a disagreement with this peer about these bytes, if there is one."""
    if said in SAID:
        return SAID[said]
    return next((reason for pattern, who, reason in EXPLAINED if who == peer and re.search(pattern, sent)), None)
