// A TLS 1.3 server with an encrypted client hello, for generate.py: Go's own crypto/tls.
// usage: go run server.go CHAIN.pem KEY.pem PUBLIC-NAME [retry]
// retry: it wants P-384, for which no browser sends a share at once: each hello is answered by a HelloRetryRequest.
// Prints one line of JSON with its port and config, then one for each handshake; ends with its standard input.
package main

import (
	"crypto/ecdh"
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"io"
	"net"
	"os"
)

func config(id byte, key []byte, name string) []byte {
	content := []byte{id, 0, 0x20, 0, 32}
	content = append(content, key...)
	content = append(content, 0, 8, 0, 1, 0, 1, 0, 1, 0, 3, 64, byte(len(name)))
	content = append(content, name...)
	content = append(content, 0, 0)
	out := binary.BigEndian.AppendUint16([]byte{0xfe, 0x0d}, uint16(len(content)))
	return append(out, content...)
}

func main() {
	certificate, err := tls.LoadX509KeyPair(os.Args[1], os.Args[2])
	if err != nil {
		panic(err)
	}
	key, _ := ecdh.X25519().GenerateKey(rand.Reader)
	one := config(7, key.PublicKey().Bytes(), os.Args[3])
	settings := &tls.Config{
		Certificates:     []tls.Certificate{certificate},
		MinVersion:       tls.VersionTLS13,
		CurvePreferences: []tls.CurveID{tls.X25519},
		NextProtos:       []string{"http/1.1"},
		EncryptedClientHelloKeys: []tls.EncryptedClientHelloKey{
			{Config: one, PrivateKey: key.Bytes(), SendAsRetry: true},
		},
	}
	if len(os.Args) > 4 {
		settings.CurvePreferences = []tls.CurveID{tls.CurveP384}
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	list := binary.BigEndian.AppendUint16(nil, uint16(len(one)))
	say := json.NewEncoder(os.Stdout)
	say.Encode(map[string]any{
		"port": listener.Addr().(*net.TCPAddr).Port, "configs": hex.EncodeToString(append(list, one...)),
	})
	go func() {
		for {
			raw, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer raw.Close()
				connection := tls.Server(raw, settings)
				err := connection.Handshake()
				state := connection.ConnectionState()
				reason := ""
				if err != nil {
					reason = err.Error()
				}
				say.Encode(map[string]any{"name": state.ServerName, "accepted": state.ECHAccepted, "error": reason})
				buffer := make([]byte, 4096)
				if _, err := connection.Read(buffer); err == nil {
					connection.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"))
					io.Copy(io.Discard, connection)
				}
			}()
		}
	}()
	io.Copy(io.Discard, os.Stdin)
}
