# An album on ActiveRecord, over mysql2 and as a Rack application: serves HTTP and prints its port.
# See ../README.md

require 'active_record'
require 'cgi'
require 'webrick'
require_relative 'read_your_writes'

ActiveRecord::Base.establish_connection(
  adapter: 'mysql2', host: ENV.fetch('DB_HOST'), port: ENV.fetch('DB_PORT').to_i, username: ENV.fetch('DB_USER'),
  password: ENV.fetch('DB_PASSWORD'), database: ENV.fetch('DB_SCHEMA'), pool: 5
)

class Photo < ActiveRecord::Base
end

PHOTOS = lambda do |env|
  if env['REQUEST_METHOD'] == 'POST'
    Photo.create!(title: CGI.parse(env['QUERY_STRING'])['title'].first)
    [200, {}, ['added']]
  else
    [200, {}, [Photo.count.to_s]]
  end
end

VERIFIER = ActiveSupport::MessageVerifier.new('the same in both regions')
APP = ReadYourWrites.new(PHOTOS, VERIFIER)

# What a Rack server does.
class Rack < WEBrick::HTTPServlet::AbstractServlet
  def service(request, response)
    ActiveRecord::Base.connection_pool.with_connection do
      status, headers, body = APP.call(request.meta_vars)
      response.status = status
      headers.each { |name, value| response[name] = value }
      response.body = body.join
    end
  end
end

server = WEBrick::HTTPServer.new(BindAddress: '127.0.0.1', Port: 0, AccessLog: [], Logger: WEBrick::Log.new(nil, 0))
server.mount('/photos', Rack)
puts server.config[:Port]
$stdout.flush
server.start
