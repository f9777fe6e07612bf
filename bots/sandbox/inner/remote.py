"""The tests' stand-ins for the solution's objects, and what the tests lend to the solution.

A stand-in (`Remote`) is queried, never trusted: comparisons are made here, on data. So an operator is passed on only
if both operands are the solution's, and `==` never is.
"""

from __future__ import annotations

import builtins
import types
from contextlib import suppress
from typing import Any

from . import wire

CHANNEL = 4
_EVERY_PROGRAM_S = (
    types.FunctionType, types.MethodType, types.BuiltinFunctionType, types.MethodWrapperType,
    types.MethodDescriptorType, types.WrapperDescriptorType, type,
)  # fmt: skip


class SolutionError(Exception):
    """The solution raised an error, sent invalid data, or has ended."""


class Unsupported(BaseException):
    """The tests do something that the channel can't do: they are at fault, not the solution.

    Not an Exception: a test that expects one of the solution's exceptions must not catch it.
    """


class Undefined(BaseException):
    """The solution lacks the name under test: it fails, whatever errors a test expects."""


class Client(wire.Decoder):
    """The tests' end of the channel.

    answered: number of calls that the solution has answered. errors: stand-ins for the solution's exceptions, by name.
    unsupported: why the tests can't be run over the channel, once they have failed to; "" before.
    """

    def __init__(self) -> None:
        self.channel = wire.Channel(CHANNEL)
        self.answered = 0
        self.errors: dict[str, type[Exception]] = {}
        self.unsupported = ""
        self._lent: list[Any] = []
        self._raised: list[tuple[BaseException, str]] = []

    def said_by_solution(self, error: BaseException) -> str | None:
        """Kind and text of this error if the solution raised it, else None."""
        return next((said for raised, said in self._raised if error is raised), None)

    def is_instance(self, value: Any, kind: Any) -> bool:
        """`isinstance`, also for the solution's classes."""
        if isinstance(kind, tuple):
            return any(self.is_instance(value, one) for one in kind)
        if not isinstance(kind, Remote):
            return isinstance(value, kind)
        return isinstance(value, Remote) and bool(self.ask(value._path, "is a", (kind,)) is True)

    def ask(self, path: list[Any], do: str, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        """Have the solution operate on the object at `path`; returns the result or raises its error."""
        encoded = [wire.encode(item, self._reference) for item in args]
        named = {name: wire.encode(item, self._reference) for name, item in (kwargs or {}).items()}
        try:
            self.channel.send({"path": path, "do": do, "args": encoded, "kwargs": named})
        except OSError as error:
            raise SolutionError("the solution has ended") from error
        answer = self.hear()
        self.answered += 1
        if do == "call" and isinstance(answer, Remote):
            answer.__dict__["_made_by"] = path
        return answer

    def hear(self) -> Any:
        """The solution's next answer; meanwhile, serve its requests for things that the tests have lent to it."""
        try:
            while "tests" in (message := self.channel.receive()):
                self.channel.send(self._lend_a_hand(message))
            if "undefined" in message:
                raise Undefined(f"the solution does not define {str(message['undefined'])!r}")
            if "error" not in message:
                return self.decode(message["value"])
            kinds, text, args = message["error"]
            if not isinstance(kinds, list) or not isinstance(args, list):
                raise TypeError("error")
            described = [str(kind) for kind in kinds], str(text), [self.decode(item) for item in args]
        except (EOFError, OSError) as error:
            raise SolutionError("the solution has ended") from error
        except (
            ValueError, TypeError, KeyError, AttributeError, IndexError, ArithmeticError, RecursionError, MemoryError,
        ) as error:  # fmt: skip
            raise SolutionError(f"the solution sent nonsense ({type(error).__name__})") from error
        self.answered += 1
        raise self._error(*described)

    def _error(self, kinds: list[str], text: str, args: list[Any]) -> Exception:
        """The error as a built-in exception, or as the solution's own exception that a test names."""
        said = f"{kinds[0] if kinds else 'error'}: {text}"
        for kind in kinds:
            if own := self.errors.get(kind):
                error: Exception = own(*(args or [text]))
                break
            raised = getattr(builtins, kind, None)
            # StopIteration would end a loop in the test, and a UnicodeDecodeError can't be created from a text alone.
            if (
                isinstance(raised, type)
                and issubclass(raised, Exception)
                and not issubclass(raised, StopIteration)
            ):
                with suppress(TypeError):
                    error = _like(raised, text, args)
                    break
        else:
            error = SolutionError(said)
        self._raised.append((error, said))
        return error

    def reference(self, tag: str, body: Any) -> Any:
        if tag == "h" and isinstance(body, int):
            return Remote(self, [body])
        if tag == "k" and isinstance(body, int) and 0 <= body < len(self._lent):
            return self._lent[body]
        return super().reference(tag, body)

    def _reference(self, value: Any) -> dict[str, Any]:
        if isinstance(value, Remote):
            return {"h": value._path}
        name = str(getattr(value, "__name__", ""))
        if isinstance(value, (types.BuiltinFunctionType, type)) and vars(builtins).get(name) is value:
            return {"Y_": name}
        if not (
            isinstance(value, _EVERY_PROGRAM_S)
            or _of_the_tests(type(value))
            or hasattr(type(value), "__next__")
        ):
            self.unsupported = f"a test passes a {type(value).__name__}, which can't be sent to the solution"
            raise Unsupported(self.unsupported)
        self._lent.append(value)
        return {"k": len(self._lent) - 1}

    def _lend_a_hand(self, request: dict[str, Any]) -> dict[str, Any]:
        """Do what the solution may do with a lent thing: call it, or use an object of one of the test's classes."""
        try:
            number, do = request["tests"], request["do"]
            if not (isinstance(number, int) and 0 <= number < len(self._lent)):
                raise ValueError("nothing of that number was lent")
            target = self._lent[number]
            args = [self.decode(item) for item in request["args"]]
            kwargs = {str(name): self.decode(item) for name, item in request["kwargs"].items()}
            result = self._deed(target, str(do), args, kwargs)
            return {"value": wire.encode(result, self._reference)}
        except Unsupported:
            # The error comes from the tests' code, but the solution chose to call it. So the solution gets an error.
            self.unsupported = ""
            return {"error": [["TypeError"], "that can't be sent", []]}
        except Exception as error:  # noqa: BLE001 it is the solution's to handle, as if it had been called there
            return {"error": [[type(error).__name__], str(error)[:300], []]}

    def _deed(self, target: Any, do: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
        if do == "call":
            return target(*args, **kwargs)
        if do == "next":
            return next(target)
        if not _of_the_tests(type(target)):
            raise AttributeError(f"a {type(target).__name__} of the tests can only be called")
        if do in ("get", "set"):
            name = args[0]
            if not isinstance(name, str) or name.startswith("_"):
                raise AttributeError(str(name))
            return getattr(target, name) if do == "get" else setattr(target, name, args[1])
        deeds: dict[str, Any] = {
            "iterate": list, "length": len, "text": str, "truth": bool, "item": lambda one, key: one[key],
            "equal": lambda one, other: bool(one == other), "less": lambda one, other: bool(one < other),
        }  # fmt: skip
        return deeds[do](target, *args)


def _like(kind: type[Exception], text: str, args: list[Any]) -> Exception:
    """A built-in exception that reads as the solution's: a test may compare its text or its arguments."""
    with suppress(Exception):  # arguments that this kind does not take, or that have no text
        error = kind(*args)
        if str(error)[: len(text)] == text and (text or not str(error)):
            return error
    return kind(text)


def _is_class(path: list[Any]) -> bool:
    """Whether the object at `path` has the name of a class that a test created an object of."""
    name = path[-1] if path else ""
    return isinstance(name, list) or (isinstance(name, str) and name[:1].isupper())


def _of_the_tests(kind: type) -> bool:
    return kind.__module__ in ("tests", "prefix")


class Remote:
    """A name, attribute or object of the solution. Using it queries the solution. It equals only itself."""

    def __init__(self, client: Client, path: list[Any]) -> None:
        self.__dict__["_client"] = client
        self.__dict__["_path"] = path
        self.__dict__["_made_by"] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        path = [*self._path, name]
        if isinstance(self._path[0], int):
            # An object's field is read at once if it is data (`node.val`); a method stays remote, to be called.
            value = self._client.ask(path, "get")
            return Remote(self._client, path) if isinstance(value, Remote) else value
        return Remote(self._client, path)

    def __setattr__(self, name: str, value: Any) -> None:
        self._client.ask(self._path, "set", (name, value))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._client.ask(self._path, "call", args, kwargs)

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if isinstance(other, Remote) and (_is_class(self._made_by) or _is_class(other._made_by)):
            self._client.unsupported = (
                "a test compares objects of the solution's own class, which only it could do"
            )
            raise Unsupported(self._client.unsupported)
        return False

    __hash__ = object.__hash__

    def __len__(self) -> int:
        length = self._client.ask(self._path, "length")
        if not isinstance(length, int) or length < 0:
            raise SolutionError("the solution sent nonsense (length)")
        return length

    def __bool__(self) -> bool:
        return True

    def __iter__(self) -> Any:
        items = self._client.ask(self._path, "iterate")
        if not isinstance(items, list):
            raise SolutionError("the solution sent nonsense (iterate)")
        return iter(items)

    def __contains__(self, item: object) -> bool:
        return any(item == one for one in self)

    def __next__(self) -> Any:
        return self._client.ask(self._path, "next")

    def __getitem__(self, key: Any) -> Any:
        return self._client.ask(self._path, "item", (key,))

    def __setitem__(self, key: Any, value: Any) -> None:
        self._client.ask(self._path, "set item", (key, value))

    def __delitem__(self, key: Any) -> None:
        self._client.ask(self._path, "delete item", (key,))

    def __str__(self) -> str:
        return str(self._client.ask(self._path, "text"))

    def __repr__(self) -> str:
        return str(self._client.ask(self._path, "form"))

    def __enter__(self) -> Any:
        return self._client.ask(self._path, "enter")

    def __exit__(self, *_: object) -> None:
        self._client.ask(self._path, "exit")

    def __add__(self, other: object) -> Any:
        return self._both("add", other)

    def __sub__(self, other: object) -> Any:
        return self._both("subtract", other)

    def __mul__(self, other: object) -> Any:
        return self._both("multiply", other)

    def __lt__(self, other: object) -> Any:
        return self._both("less", other)

    def __le__(self, other: object) -> Any:
        return self._both("at most", other)

    def _both(self, do: str, other: object) -> Any:
        return self._client.ask(self._path, do, (other,)) if isinstance(other, Remote) else NotImplemented
