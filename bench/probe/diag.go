package probe

import (
	"encoding/binary"
	"fmt"
	"strconv"

	"golang.org/x/sys/unix"
)

// Layout of sock_diag(7) messages, in native byte order but for ports.
const (
	diagRequestLen = 56      // inet_diag_req_v2
	diagAnswerLen  = 72      // inet_diag_msg
	diagStates     = 4       // offset of the wanted states in the request
	diagPort       = 4       // offset of the source port (big endian) in an answer
	diagInode      = 68      // offset of the inode
	stateListen    = 1 << 10 // TCP_LISTEN as a mask
	diagBuffer     = 64 << 10
)

// listeningInodes asks the kernel for the sockets that listen on port, by
// sock_diag: /proc/net/tcp takes minutes to read when 100,000 connections are in
// TIME_WAIT.
func listeningInodes(port uint16) (map[string]bool, error) {
	inodes := map[string]bool{}
	for _, family := range []byte{unix.AF_INET, unix.AF_INET6} {
		if err := dumpListeners(family, port, inodes); err != nil {
			return nil, fmt.Errorf("sock_diag: %w", err)
		}
	}
	return inodes, nil
}

func dumpListeners(family byte, port uint16, inodes map[string]bool) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	req := make([]byte, unix.NLMSG_HDRLEN+diagRequestLen)
	ne := binary.NativeEndian
	ne.PutUint32(req[0:], uint32(len(req)))
	ne.PutUint16(req[4:], unix.SOCK_DIAG_BY_FAMILY)
	ne.PutUint16(req[6:], unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	body := req[unix.NLMSG_HDRLEN:]
	body[0], body[1] = family, unix.IPPROTO_TCP
	ne.PutUint32(body[diagStates:], stateListen)
	if err := unix.Sendto(fd, req, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	buf := make([]byte, diagBuffer)
	for {
		n, _, err := unix.Recvfrom(fd, buf, 0)
		if err != nil {
			return err
		}
		done, err := readDiag(buf[:n], port, inodes)
		if err != nil || done {
			return err
		}
	}
}

// readDiag collects inodes from one datagram; done is the end of the dump.
func readDiag(p []byte, port uint16, inodes map[string]bool) (done bool, err error) {
	ne := binary.NativeEndian
	for len(p) >= unix.NLMSG_HDRLEN {
		size := int(ne.Uint32(p))
		if size < unix.NLMSG_HDRLEN || size > len(p) {
			return true, unix.EBADMSG
		}
		body := p[unix.NLMSG_HDRLEN:size]
		switch ne.Uint16(p[4:]) {
		case unix.NLMSG_DONE:
			return true, nil
		case unix.NLMSG_ERROR:
			if len(body) >= 4 {
				return true, unix.Errno(-int32(ne.Uint32(body)))
			}
			return true, unix.EBADMSG
		}
		if len(body) >= diagAnswerLen && binary.BigEndian.Uint16(body[diagPort:]) == port {
			inodes["socket:["+strconv.FormatUint(uint64(ne.Uint32(body[diagInode:])), 10)+"]"] = true
		}
		p = p[min((size+3)&^3, len(p)):]
	}
	return false, nil
}
