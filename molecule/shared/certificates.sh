#!/bin/sh
# Makes a CA below DIRECTORY, and for each host a certificate with its names: certificates.sh DIRECTORY HOST=ADDRESS...
set -e
cd "$1"
shift
curve="-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30"
[ -e ca.pem ] || openssl req -x509 $curve -keyout ca.key -out ca.pem -subj "/CN=Test CA" \
    -addext "keyUsage=critical,keyCertSign,cRLSign" 2>/dev/null
for each in "$@"; do
    host=${each%=*}
    [ -e "$host.pem" ] && continue
    openssl req -x509 $curve -CA ca.pem -CAkey ca.key -keyout "$host.key" -out "$host.pem" \
        -subj "/CN=$host.dirac.test" -addext "basicConstraints=critical,CA:false" \
        -addext "subjectAltName=DNS:$host.dirac.test,DNS:localhost,IP:${each#*=}" \
        -addext "extendedKeyUsage=serverAuth,clientAuth" 2>/dev/null
    cat ca.pem >>"$host.pem"
done
