/* Confines a server that cannot be told where to listen: a bind() to every address becomes one to loopback (LD_PRELOAD). */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <netinet/in.h>
#include <sys/socket.h>

typedef int (*bind_function)(int, const struct sockaddr *, socklen_t);

int bind(int socket, const struct sockaddr *address, socklen_t length) {
  bind_function next = (bind_function)dlsym(RTLD_NEXT, "bind");
  struct sockaddr_storage copy = {0};
  if (length > sizeof copy) return next(socket, address, length);
  __builtin_memcpy(&copy, address, length);
  if (copy.ss_family == AF_INET) {
    struct sockaddr_in *four = (struct sockaddr_in *)&copy;
    if (four->sin_addr.s_addr == htonl(INADDR_ANY)) four->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  } else if (copy.ss_family == AF_INET6) {
    struct sockaddr_in6 *six = (struct sockaddr_in6 *)&copy;
    if (IN6_IS_ADDR_UNSPECIFIED(&six->sin6_addr)) six->sin6_addr = in6addr_loopback;
  }
  return next(socket, (struct sockaddr *)&copy, length);
}
