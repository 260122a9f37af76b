"""Who may open a folder on Windows, which has access lists instead of modes.

The list that we write names the user, the system and the administrators, is inherited by what is in the
folder, and inherits nothing from above.
"""

import ctypes
import sys
from pathlib import Path
from typing import Any, Final

_FILE_OBJECT: Final = 1
_OWNER: Final = 0x1
_ACCESS_LIST: Final = 0x4
_NOT_INHERITED: Final = 0x8000_0000
_TOKEN_QUERY: Final = 0x8
_TOKEN_USER: Final = 1
_ADMINISTRATORS: Final = "S-1-5-32-544"

if sys.platform == "win32":
    from ctypes import wintypes

    _advapi = ctypes.WinDLL("advapi32", use_last_error=True)
    _kernel = ctypes.WinDLL("kernel32", use_last_error=True)
    _kernel.GetCurrentProcess.restype = wintypes.HANDLE
    _kernel.CloseHandle.argtypes = (wintypes.HANDLE,)
    _kernel.LocalFree.argtypes = (ctypes.c_void_p,)
    _kernel.LocalFree.restype = ctypes.c_void_p
    _advapi.OpenProcessToken.argtypes = (
        wintypes.HANDLE, wintypes.DWORD, ctypes.POINTER(wintypes.HANDLE)
    )  # fmt: skip
    _advapi.GetTokenInformation.argtypes = (
        wintypes.HANDLE, ctypes.c_int, ctypes.c_void_p, wintypes.DWORD, ctypes.POINTER(wintypes.DWORD),
    )  # fmt: skip
    _advapi.ConvertSidToStringSidW.argtypes = (ctypes.c_void_p, ctypes.POINTER(ctypes.c_void_p))
    _advapi.ConvertStringSecurityDescriptorToSecurityDescriptorW.argtypes = (
        wintypes.LPCWSTR, wintypes.DWORD, ctypes.POINTER(ctypes.c_void_p), ctypes.c_void_p,
    )  # fmt: skip
    _advapi.GetSecurityDescriptorDacl.argtypes = (
        ctypes.c_void_p, ctypes.POINTER(wintypes.BOOL), ctypes.POINTER(ctypes.c_void_p),
        ctypes.POINTER(wintypes.BOOL),
    )  # fmt: skip
    _advapi.SetNamedSecurityInfoW.argtypes = (
        wintypes.LPCWSTR, ctypes.c_int, wintypes.DWORD, *(ctypes.c_void_p,) * 4,
    )  # fmt: skip
    _advapi.SetNamedSecurityInfoW.restype = wintypes.DWORD
    _advapi.GetNamedSecurityInfoW.argtypes = (
        wintypes.LPCWSTR, ctypes.c_int, wintypes.DWORD, *(ctypes.c_void_p,) * 5,
    )  # fmt: skip
    _advapi.GetNamedSecurityInfoW.restype = wintypes.DWORD

    def take_folder(folder: Path) -> bool:
        """Close a folder to other users; False if it is of another one. Raises OSError."""
        user = own_sid()
        if owner_of(folder) not in (user, _ADMINISTRATORS):  # what an administrator makes may be of them all
            return False
        text = f"D:P(A;OICI;FA;;;{user})(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)"
        described = ctypes.c_void_p()
        _check(
            _advapi.ConvertStringSecurityDescriptorToSecurityDescriptorW(
                text, 1, ctypes.byref(described), None
            )
        )
        try:
            given, entries, usual = wintypes.BOOL(), ctypes.c_void_p(), wintypes.BOOL()
            _check(
                _advapi.GetSecurityDescriptorDacl(
                    described, ctypes.byref(given), ctypes.byref(entries), ctypes.byref(usual)
                )
            )
            refused = _advapi.SetNamedSecurityInfoW(
                str(folder), _FILE_OBJECT, _ACCESS_LIST | _NOT_INHERITED, None, None, entries, None
            )
            if refused:
                raise ctypes.WinError(refused)
        finally:
            _kernel.LocalFree(described)
        return True

    def own_sid() -> str:
        """Return the security identifier of the user we run as."""
        token = wintypes.HANDLE()
        _check(_advapi.OpenProcessToken(_kernel.GetCurrentProcess(), _TOKEN_QUERY, ctypes.byref(token)))
        try:
            size = wintypes.DWORD()
            _advapi.GetTokenInformation(token, _TOKEN_USER, None, 0, ctypes.byref(size))
            room = ctypes.create_string_buffer(size.value)
            _check(_advapi.GetTokenInformation(token, _TOKEN_USER, room, size, ctypes.byref(size)))
            return _text_of(ctypes.c_void_p.from_buffer(room))  # it begins with a pointer to the identifier
        finally:
            _kernel.CloseHandle(token)

    def owner_of(folder: Path) -> str:
        """Return the security identifier of a folder's owner; raises OSError."""
        owner, described = ctypes.c_void_p(), ctypes.c_void_p()
        refused = _advapi.GetNamedSecurityInfoW(
            str(folder), _FILE_OBJECT, _OWNER, ctypes.byref(owner), None, None, None, ctypes.byref(described)
        )
        if refused:
            raise ctypes.WinError(refused)
        try:
            return _text_of(owner)
        finally:
            _kernel.LocalFree(described)

    def _text_of(identifier: "ctypes.c_void_p") -> str:
        text = ctypes.c_void_p()
        _check(_advapi.ConvertSidToStringSidW(identifier, ctypes.byref(text)))
        try:
            return ctypes.wstring_at(text.value or 0)
        finally:
            _kernel.LocalFree(text)

    def _check(worked: Any) -> None:  # noqa: ANN401 what ctypes returns
        if not worked:
            raise ctypes.WinError(ctypes.get_last_error())
