"""Where a server's processes listen."""

import psutil


def listening(leader: psutil.Process) -> set[tuple[str, str]]:
    """Return name and address of each listening process among a process and its children.

    Asked process by process: workers inherit the socket, and a list of the whole machine names one
    of those that hold it.
    """
    return {
        (process.name(), connection.laddr.ip)
        for process in [leader, *leader.children(recursive=True)]
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
