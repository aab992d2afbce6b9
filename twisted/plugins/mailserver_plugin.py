from twisted.application.service import ServiceMaker

mailserver = ServiceMaker("mailserver", "mailserver.service", "An SMTP server with a durable queue.", "mailserver")
