/* Switches Nagle's algorithm off for programs that cannot be told to: on each TCP connection made or accepted (LD_PRELOAD). */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

static void hurry(int socket) {
  int on = 1;
  /* Fails for what is no TCP socket, and that is as it should be. */
  setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

int connect(int socket, const struct sockaddr *address, socklen_t length) {
  int (*next)(int, const struct sockaddr *, socklen_t) = dlsym(RTLD_NEXT, "connect");
  hurry(socket);
  return next(socket, address, length);
}

int accept(int socket, struct sockaddr *address, socklen_t *length) {
  int (*next)(int, struct sockaddr *, socklen_t *) = dlsym(RTLD_NEXT, "accept");
  int accepted = next(socket, address, length);
  if (accepted >= 0) hurry(accepted);
  return accepted;
}

int accept4(int socket, struct sockaddr *address, socklen_t *length, int flags) {
  int (*next)(int, struct sockaddr *, socklen_t *, int) = dlsym(RTLD_NEXT, "accept4");
  int accepted = next(socket, address, length, flags);
  if (accepted >= 0) hurry(accepted);
  return accepted;
}
